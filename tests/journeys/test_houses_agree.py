"""Two houses read one log: their hours agree to the second, and a rebuild changes nothing."""

import asyncio
from contextlib import asynccontextmanager
from datetime import date

import pytest

from schemas.envelope import read_event
from schemas.events import entity_of
from services.billing import store as billing_store
from services.billing.consumer import READING as BILLING
from services.consuming import consume
from services.demo.workload import simulate
from services.folding import caught_up, rebuild
from services.kafka import ensure_topics, log_ends
from services.metrics import store
from services.metrics.consumer import READING as METRICS
from services.postgres import connect
from services.producer import Producer, Record
from tests.log import record, topic_of

BILLED = """
select firm_id, date_trunc('month', (s->>'service_date')::date)::date as month,
       sum((s->>'seconds')::bigint)::bigint as seconds
from entry, json_array_elements(segments) s group by 1, 2 order by 1, 2
"""
MEASURED = """
select firm_id, date_trunc('month', service_date)::date as month, sum(seconds)::bigint as seconds
from segment group by 1, 2 order by 1, 2
"""


@asynccontextmanager
async def reading(settings, *houses):
    stop = asyncio.Event()
    tasks = [asyncio.create_task(consume(settings, house, stop)) for house in houses]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def settle(settings, house, conn):
    ends = await log_ends(settings, [settings.topic(name) for name in house.topics])
    async with asyncio.timeout(90):
        while not await caught_up(conn, ends):  # noqa: ASYNC110 (another task's table)
            await asyncio.sleep(0.05)


async def put_workload(settings, workload):
    by_topic: dict[str, list[Record]] = {}
    for sent in (*workload.events, *workload.directory):  # the directory comes last
        topic = settings.topic(topic_of(sent.body))
        by_topic.setdefault(topic, []).append(record(sent.body, sent.principal, sent.sent_at))
    async with Producer(settings) as producer:
        await producer.wait_connected()
        for topic, records in by_topic.items():
            for start in range(0, len(records), 2000):
                await producer.produce(topic, records[start : start + 2000], 10)


@pytest.fixture(scope="module")
def workload():
    return simulate(firm_count=2, month_count=1, seed=11, first_day=date(2026, 7, 1))


async def test_hours_agree_and_a_rebuild_gives_the_same_hash(settings, workload):
    await ensure_topics(settings)
    await put_workload(settings, workload)
    metrics = await connect(settings, "metrics", "writer")
    billing = await connect(settings, "billing", "writer")
    async with reading(settings, METRICS, BILLING):
        await settle(settings, METRICS, metrics)
        await settle(settings, BILLING, billing)
        before = await store.state_hash(metrics), await billing_store.state_hash(billing)
        billed = [tuple(row) for row in await billing.fetch(BILLED)]
        assert [tuple(row) for row in await metrics.fetch(MEASURED)] == billed
        assert sum(seconds for _, _, seconds in billed) > 500 * 3600
        await asyncio.gather(rebuild(metrics), rebuild(billing))
        await settle(settings, METRICS, metrics)
        await settle(settings, BILLING, billing)
    assert (await store.state_hash(metrics), await billing_store.state_hash(billing)) == before
    assert [tuple(row) for row in await billing.fetch(BILLED)] == billed
    assert await metrics.fetchval("select count(*) from entity where failed is not null") == 0
    await metrics.close()
    await billing.close()


async def test_no_simulated_event_is_quarantined_or_lost(settings, workload):
    await ensure_topics(settings)
    await put_workload(settings, workload)
    conn = await connect(settings, "metrics", "writer")
    async with reading(settings, METRICS):
        await settle(settings, METRICS, conn)
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
