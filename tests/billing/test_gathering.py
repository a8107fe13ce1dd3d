"""What a draft reads: of all that lies on the log, only what concerns its firm and its cut."""

from schemas.facts import Cut
from services.billing import store
from services.postgres import connect
from tests.billing.conftest import Billing

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


async def test_placements_that_others_started_inside_the_cut_are_not_read(billing: Billing, owner):
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
    conn = await connect(billing.settings, "billing", "writer")
    async with conn.transaction():
        cut = Cut(dict.fromkeys(places, 10_000))
        assert await store.load_firms_of_assistants(conn, ["as-1"], "firm-1", cut) == []
        assert await conn.fetchval(READ) < 10
    async with conn.transaction():
        beyond = Cut(dict.fromkeys(places, 4_990))
        found = await store.load_firms_of_assistants(conn, ["as-1"], "firm-1", beyond)
        assert len(found) == 12
        assert await conn.fetchval(READ) < 30
    await conn.close()
