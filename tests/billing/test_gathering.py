"""What a draft reads: of all that lies on the log, only what concerns its firm and its cut."""

import asyncio
import gc
import time
from contextlib import asynccontextmanager

import pytest

from schemas.facts import Cut
from schemas.periods import Month
from services.billing import store
from services.billing.drafts import draft
from services.billing.gather import gather
from services.billing.reports import report
from services.postgres import connect
from tests.billing.conftest import Billing
from tests.log import entry, event, put
from tests.races.replays import replayed, same

MANY = 2_000


@pytest.fixture
async def conn(billing: Billing):
    """A run worker's connection."""
    found = await connect(billing.settings, "billing", "writer")
    yield found
    await found.close()


FACTS = """
insert into billing.fact (firm_id, topic, partition, "offset", kind, entity_id, source, event_id,
                          type, event_time, received_at, principal, content_hash, body)
select 'firm-' || n, $1, 0, 1000 + n, $2, n, 's', n, $3, now(), now(), 'admin:a', '',
       decode(repeat('00', 400), 'hex')
from generate_series(2, 4001) n
"""
PLACES = "select topic, partition from billing.consumer_offset"
READ = """
select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables
where relid = 'billing.fact'::regclass
"""


async def test_placements_that_others_started_inside_the_cut_are_not_read(
    billing: Billing, owner, conn
):
    await billing.settle()
    async with owner.transaction():
        await owner.execute("alter table billing.fact no force row level security")
        for topic, kind, name in (
            ("directory", "placement", "turnsheet.placement.started.v1"),
            ("time-events", "entry", "turnsheet.time.recorded.v1"),
        ):
            await owner.execute(FACTS, billing.settings.topic(topic), kind, name)
        await owner.execute("alter table billing.fact force row level security")
    await owner.execute("analyze billing.fact")
    places = [tuple(row) for row in await owner.fetch(PLACES)]
    async with conn.transaction():
        cut = Cut(dict.fromkeys(places, 10_000))
        assert await store.load_firms_of_assistants(conn, ["as-1"], "firm-1", cut) == []
        assert await conn.fetchval(READ) < 10
    async with conn.transaction():
        beyond = Cut(dict.fromkeys(places, 4_990))
        found = await store.load_firms_of_assistants(conn, ["as-1"], "firm-1", beyond)
        assert len(found) == 12
        assert await conn.fetchval(READ) < 30


async def test_what_came_since_a_run_is_not_read_when_it_is_replayed(billing: Billing, owner):
    """Here it could not even be read: new entries, and an amendment of one that the run saw."""
    await put(billing.settings, [entry("a", 30)])
    run = await billing.run("2026-07")
    since = [entry("b", 30, at=60), entry("a", 60, event_id="again"), entry("c", 10, at=120)]
    await put(billing.settings, since)
    await billing.settle()
    async with owner.transaction():
        await owner.execute("alter table billing.fact no force row level security")
        unreadable = """update billing.fact set body = '{}' where kind = 'entry' and "offset" > 0"""
        assert await owner.execute(unreadable) == "UPDATE 3"
        await owner.execute("alter table billing.fact force row level security")
    assert await replayed(billing, run) == same("firm-1")


@asynccontextmanager
async def turns():
    """Measure how long the loop's thread computes in each turn, in seconds of its own.

    Without the collection of garbage, of which a process of tests has much.
    """
    found: list[float] = []

    async def tick() -> None:
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            found.append(time.thread_time() - began)

    gc.disable()
    task = asyncio.create_task(tick())
    try:
        await asyncio.sleep(0)
        yield found
        await asyncio.sleep(0)
    finally:
        gc.enable()
        task.cancel()


QUEUED = """
insert into billing.refold (firm_id, kind, entity_id, reason, due_at)
select firm_id, kind, entity_id, 'placement', now() + interval '1 hour' from billing.entity
where kind = 'entry'
"""
MOVED = {"firm_id": "firm-1", "placement_id": "pl-1", "phase": "trial",
         "effective_date": "2026-07-01"}  # fmt: skip


@pytest.mark.parametrize("since", ["queued", "moved"])
async def test_the_loop_keeps_its_turns_while_many_entries_are_read_as_of_a_cut(
    billing: Billing, owner, conn, since
):
    await put(billing.settings, [entry(f"e{n:05}", 10, at=n * 11) for n in range(MANY)])
    await billing.settle()
    places = await owner.fetch("select topic, partition, next from billing.consumer_offset")
    cut = Cut(
        {(t, p): end for t, p, end in places}, await owner.fetchval("select clock_timestamp()")
    )
    undisturbed = await gather(conn, "firm-1", Month.parse("2026-07"), "run-1", cut)
    if since == "moved":
        await put(billing.settings, [event("placement.phase_changed", "d9", MOVED)], "admin:a")
        await billing.settle()
    await billing.server.close()  # nobody else computes on this loop
    if since == "queued":
        await owner.execute(QUEUED)
    began = time.process_time()
    async with turns() as seconds:
        found = await gather(conn, "firm-1", Month.parse("2026-07"), "run-1", cut)
    assert report(draft(*found)) == report(draft(*undisturbed))
    assert max(seconds) < (time.process_time() - began) / 5  # of all that is computed
