"""The consumer's transaction on real servers: each accepted event has exactly one effect."""

import asyncio

import pytest

from services.folding import SQL, Applying, apply, load_offsets, rebuild
from services.kafka import admin_client, ensure_topics, topic_ids
from services.log_reader import Batch, Fenced
from services.postgres import connect
from services.producer import Producer, Record
from tests.log import DIRECTORY, FIRM, PLACEMENT, entry, event, put, record
from tests.services.conftest import TALLY, consuming

AMENDED = event(
    "placement.country_changed",
    "d3",
    {"firm_id": "firm-1", "placement_id": "pl-1", "country": "MX", "effective_date": "2026-06-01"},
)


async def test_an_event_has_one_effect_however_often_it_lies_in_the_log(settings, tally_house):
    await put(settings, DIRECTORY, "admin:a")
    await put(settings, [entry("a", 30), entry("a", 30), entry("b", 10)])
    async with consuming(settings):
        await tally_house.settle()
        await put(settings, [entry("a", 30)])
        await tally_house.settle()
    assert await tally_house.rows() == {"a": (1, "PH"), "b": (1, "PH")}


async def test_a_fact_that_comes_before_its_placement_is_folded_when_that_arrives(
    settings, tally_house
):
    await put(settings, [entry("a", 30)])
    async with consuming(settings):
        await tally_house.settle()
        assert await tally_house.rows() == {"a": (1, None)}
        await put(settings, DIRECTORY, "admin:a")
        await tally_house.settle()
        assert await tally_house.rows() == {"a": (1, "PH")}
        await put(settings, [AMENDED], "admin:a")
        await tally_house.settle()
    assert await tally_house.rows() == {"a": (1, "MX")}


async def test_what_cannot_be_read_is_parked_and_the_rest_goes_on(settings, tally_house):
    good = record(entry("a", 30))
    poison = [
        Record(b"firm-1", b"{", good.headers),
        Record(b"firm-1", good.value, []),
        Record(b"firm-2", good.value, good.headers),
        Record(b"firm-1", FIRM, good.headers),
        Record(b"firm-1", good.value.replace(b"time.recorded", b"time.invented"), good.headers),
    ]
    async with Producer(settings) as producer:
        await producer.wait_connected()
        await producer.produce(settings.topic("time-events"), [*poison, good], 10)
    async with consuming(settings):
        await tally_house.settle()
    parked = await tally_house.conn.fetch('select code, body from quarantine order by "offset"')
    assert [row["code"] for row in parked] == [
        "bad_json", "header_content_type", "wrong_key", "wrong_topic", "unknown_type",
    ]  # fmt: skip
    assert [row["body"] for row in parked] == [item.value for item in poison]
    assert await tally_house.rows() == {"a": (1, None)}


async def test_a_failed_entity_keeps_its_facts_and_stops_nobody(settings, tally_house):
    await put(settings, [entry("trap", 5), entry("a", 30)])
    async with consuming(settings):
        await tally_house.settle()
    failed = await tally_house.conn.fetch(
        "select entity_id, failed from entity where failed is not null"
    )
    assert [tuple(row) for row in failed] == [("trap", "ArithmeticError at conftest.py:31")]
    assert await tally_house.conn.fetchval("select count(*) from fact") == 2
    assert await tally_house.rows() == {"a": (1, None)}


async def test_the_fence_refuses_a_batch_whose_offset_has_moved_on(settings, tally_house):
    await put(settings, [entry("a", 30), entry("b", 30)])
    async with consuming(settings):
        await tally_house.settle()
    topic = settings.topic("time-events")
    topic_id = (await topic_ids(settings, [topic]))[topic]
    before = await tally_house.conn.fetchval("select count(*) from fact")
    with pytest.raises(Fenced):
        await apply(tally_house.conn, TALLY, Batch(topic, 0, topic_id, 1, 2, []))
    assert await tally_house.conn.fetchval("select count(*) from fact") == before
    assert (await load_offsets(tally_house.conn))[topic, 0] == 2


async def test_two_consumers_apply_each_record_once(settings, tally_house):
    async with consuming(settings), consuming(settings):
        for round_number in range(5):
            await put(settings, [entry(f"{round_number}-{n}", 1) for n in range(40)])
        await tally_house.settle()
    assert len(await tally_house.rows()) == 200
    assert await tally_house.conn.fetchval("select count(*) from fact") == 200


async def test_writers_who_contest_an_entity_leave_it_right(settings, tally_house):
    """Without the comparison of versions, or without the share lock, some end wrong."""
    await put(settings, [*DIRECTORY, AMENDED], "admin:a")
    ids = [f"n-{n}" for n in range(20)]
    async with consuming(settings), asyncio.TaskGroup() as group:
        group.create_task(contest(settings, ids))
        for round_number in range(4):
            bodies = [entry(i, 5, event_id=f"{round_number}-{i}", revision=round_number + 1,
                            reason="again") for i in ids]  # fmt: skip
            amended = [b.replace(b"time.recorded", b"time.amended") for b in bodies]
            await put(settings, amended)
            for change in (AMENDED, PLACEMENT):
                await put(settings, [change], "admin:a")
        await tally_house.settle()
    assert await tally_house.rows() == dict.fromkeys(ids, (4, "MX"))


async def contest(settings, ids):
    """Fold the same entities again and again over connections of our own."""
    applying = Applying(settings, TALLY, asyncio.Event())
    conn = await connect(settings, "metrics", "writer")
    for _ in range(30):
        await conn.executemany(
            "insert into refold (firm_id, kind, entity_id, reason) "
            "values ('firm-1', 'entry', $1, 'test')",
            [(i,) for i in ids],
        )
        await applying.drain()
    await applying.close()
    await conn.close()


async def test_a_rebuild_under_a_running_consumer_gives_the_same(settings, tally_house):
    await put(settings, DIRECTORY, "admin:a")
    await put(settings, [entry(f"n-{n}", 1) for n in range(50)])
    async with consuming(settings):
        await tally_house.settle()
        before = await tally_house.rows()
        await rebuild(tally_house.conn)
        await tally_house.settle()
        assert await tally_house.rows() == before
    assert len(before) == 50


async def test_a_topic_made_again_stops_its_partition_and_nothing_is_skipped(settings, tally_house):
    topic = settings.topic("time-events")
    await put(settings, [entry("a", 30)])
    async with consuming(settings):
        await tally_house.settle()
    async with admin_client(settings) as admin:
        await admin.delete_topics([topic])
    await ensure_topics(settings)
    await put(settings, [entry("b", 1), entry("c", 1), entry("d", 1)])
    async with consuming(settings):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await tally_house.settle()
    assert await tally_house.rows() == {"a": (1, None)}


async def test_every_statement_is_one_that_the_schema_knows(tally_house):
    for text in SQL.values():
        await tally_house.conn.prepare(text)
