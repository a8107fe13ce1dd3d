"""Two houses read one log: their hours agree to the second, and a rebuild changes nothing."""

import asyncio
from datetime import date

import pytest

from schemas.envelope import read_event
from schemas.events import entity_of
from services.billing import store as billing_store
from services.billing.consumer import READING as BILLING
from services.demo.workload import simulate
from services.folding import rebuild
from services.kafka import ensure_topics
from services.metrics import store
from services.metrics.consumer import READING as METRICS
from services.postgres import connect
from tests.log import applied, put_sent
from tests.tally import consuming

BILLED = """
select firm_id, date_trunc('month', (s->>'service_date')::date)::date as month,
       sum((s->>'seconds')::bigint)::bigint as seconds
from entry, json_array_elements(segments) s group by 1, 2 order by 1, 2
"""
MEASURED = """
select firm_id, date_trunc('month', service_date)::date as month, sum(seconds)::bigint as seconds
from segment group by 1, 2 order by 1, 2
"""


SECONDS = 90


@pytest.fixture(scope="module")
def workload():
    return simulate(firm_count=2, month_count=1, seed=11, first_day=date(2026, 7, 1))


async def test_hours_agree_and_a_rebuild_gives_the_same_hash(settings, workload):
    await ensure_topics(settings)
    await put_sent(settings, (*workload.events, *workload.directory))  # that comes last
    metrics = await connect(settings, "metrics", "writer")
    billing = await connect(settings, "billing", "writer")
    async with consuming(settings, METRICS), consuming(settings, BILLING):
        await applied(settings, METRICS, metrics, SECONDS)
        await applied(settings, BILLING, billing, SECONDS)
        before = await store.state_hash(metrics), await billing_store.state_hash(billing)
        billed = [tuple(row) for row in await billing.fetch(BILLED)]
        assert [tuple(row) for row in await metrics.fetch(MEASURED)] == billed
        assert sum(seconds for _, _, seconds in billed) > 500 * 3600
        await asyncio.gather(rebuild(metrics), rebuild(billing))
        await applied(settings, METRICS, metrics, SECONDS)
        await applied(settings, BILLING, billing, SECONDS)
    assert (await store.state_hash(metrics), await billing_store.state_hash(billing)) == before
    assert [tuple(row) for row in await billing.fetch(BILLED)] == billed
    assert await metrics.fetchval("select count(*) from entity where failed is not null") == 0
    await metrics.close()
    await billing.close()


async def test_no_simulated_event_is_quarantined_or_lost(settings, workload):
    await ensure_topics(settings)
    await put_sent(settings, (*workload.events, *workload.directory))  # that comes last
    conn = await connect(settings, "metrics", "writer")
    async with consuming(settings, METRICS):
        await applied(settings, METRICS, conn, SECONDS)
    identities = {
        (e.source, e.id, entity_of(e.type, e.data))
        for e in (read_event(s.body) for s in (*workload.events, *workload.directory))
    }
    stored = await conn.fetch(
        "select distinct source, event_id, firm_id, kind, entity_id from fact"
    )
    assert {(r[0], r[1], (r[2], r[3], r[4])) for r in stored} == {
        (source, event_id, tuple(key)) for source, event_id, key in identities
    }
    assert await conn.fetchval("select count(*) from quarantine") == 0
    await conn.close()
