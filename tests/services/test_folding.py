"""The consumer's transaction: each accepted event has exactly one effect, whoever else writes."""

import asyncio
import random
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import asyncpg
import psycopg
import pytest
from aiokafka.structs import ConsumerRecord

from schemas.events import EntityKey
from schemas.facts import Fact
from services import consuming as consuming_room
from services import directories, folding
from services.consuming import Applying
from services.directories import load_directory
from services.folding import apply, caught_up, drain_refolds, load_facts, place, rebuild
from services.log_applying import Batch, Discontinuity, Fenced, LogState, digest_of
from services.log_facts import load_rows
from services.log_records import fact_row, read_record
from services.postgres import STORE_ERRORS, connect, role_url
from tests.log import (
    DIRECTORY,
    FIRM,
    PLACEMENT,
    START,
    entry,
    event,
    put,
    record,
    topic_of,
)
from tests.tally import TALLY, consuming, tally

TOPIC_ID = UUID(int=7)
ADD_FACT = """insert into fact values
    (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, now(), %s, %s, %s)"""
WAITING = """select count(*) from pg_locks where not granted and pid in
    (select pid from pg_stat_activity where datname = current_database())"""


def moved(country, number=0, effective_date="2026-06-01"):
    data = {"firm_id": "firm-1", "placement_id": "pl-1", "country": country}
    return event("placement.country_changed", f"d-{country}-{number}",
                 data | {"effective_date": effective_date})  # fmt: skip


MOVED = moved("MX")
FIRM_MOVED = event(
    "firm.changed", "d-firm", {"firm_id": "firm-1", "country": "CA", "effective_date": "2026-06-01"}
)


def on_the_log(body, offset, *, received=0, prefix="x."):
    made = record(body, received_at=START + timedelta(seconds=received))
    topic = prefix + topic_of(body)
    return ConsumerRecord(topic, 0, offset, 0, 0, made.key, made.value, None, 0, 0, made.headers)


class Log:
    """The ends of a log that only a test knows, and batches of it."""

    def __init__(self, conn):
        self.conn = conn
        self.ends = {}

    async def batch(self, bodies, topic=None):
        """Put records at the end of one topic's partition."""
        topic = topic or f"x.{topic_of(bodies[0])}"
        first = self.ends.get(topic, 0)
        self.ends[topic] = first + len(bodies)
        await place(self.conn, topic, 0, LogState(TOPIC_ID, 0, self.ends[topic]))
        records = [on_the_log(body, first + n, received=first + n) for n, body in enumerate(bodies)]
        return Batch(topic, 0, TOPIC_ID, first, first + len(bodies), records)

    async def apply(self, *bodies, reading=TALLY):
        """Apply what one poll would bring, and what it queued."""
        await apply(self.conn, reading, [await self.batch(bodies)])
        while await drain_refolds(self.conn, reading):
            pass


@pytest.fixture
def log(tally_house):
    return Log(tally_house.conn)


@pytest.fixture
def intruder(settings, tally_house):
    """Another writer, who does not wait for our event loop."""
    with psycopg.connect(
        role_url(settings, "metrics", "writer"),
        options="-c search_path=metrics -c lock_timeout=200ms",
        autocommit=True,
    ) as conn:
        yield conn


# Effects


async def test_an_event_has_one_effect_however_often_it_lies_in_the_log(settings, tally_house):
    await put(settings, DIRECTORY, "admin:a")
    await put(settings, [entry("a", 30), entry("a", 30), entry("b", 10)])
    async with consuming(settings):
        await tally_house.settle()
        await put(settings, [entry("a", 30)])
        await tally_house.settle()
    assert await tally_house.rows() == {"a": (1, "PH"), "b": (1, "PH")}


async def test_any_order_repetition_and_split_of_the_log_gives_the_same(tally_house, log):
    work = [entry(f"n-{n % 7}", 5, event_id=f"e-{n}") for n in range(30)]
    directory = [*DIRECTORY, MOVED, moved("CO", 1, "2026-06-20"), moved("CR", 2, "2026-06-25")]
    seen = set()
    for seed in range(12):
        chance = random.Random(seed)
        story = [*work, *directory, *chance.sample(work, 10)]
        chance.shuffle(story)
        while story:
            size = chance.randint(1, 8)
            poll, story = story[:size], story[size:]
            for topic in ("directory", "time-events"):
                if part := [body for body in poll if topic_of(body) == topic]:
                    await log.apply(*part)
        seen.add(tuple(sorted((await tally_house.rows()).items())))
        await rebuild(tally_house.conn)
        log.ends.clear()
    assert len(seen) == 1
    rows = dict(seen.pop())
    assert (len(rows), sum(count for count, _ in rows.values())) == (7, 30)
    assert {country for _, country in rows.values()} == {"CR"}


async def test_a_fact_that_comes_before_its_placement_is_folded_when_that_arrives(tally_house, log):
    await log.apply(entry("a", 30))
    assert await tally_house.rows() == {"a": (1, None)}
    assert (await load_directory(tally_house.conn, "firm-1")).placements == {}
    await log.apply(*DIRECTORY)
    assert await tally_house.rows() == {"a": (1, "PH")}
    await log.apply(MOVED)
    assert await tally_house.rows() == {"a": (1, "MX")}
    directory = await load_directory(tally_house.conn, "firm-1")
    assert directory.firm is not None
    assert directory.firm.timezone == "America/New_York"
    assert set(directory.placements) == {"pl-1"}


async def test_a_directory_event_that_changes_nothing_queues_nothing(tally_house, log):
    await log.apply(*DIRECTORY)
    await log.apply(entry("a", 30))
    await apply(tally_house.conn, TALLY, [await log.batch([PLACEMENT, FIRM])])
    assert await tally_house.count("refold") == 0
    await apply(tally_house.conn, TALLY, [await log.batch([MOVED])])
    assert await tally_house.count("refold") == 1
    await apply(tally_house.conn, TALLY, [await log.batch([moved("CO", 1)])])
    assert await tally_house.count("refold") == 1


async def test_a_fold_sees_only_the_placements_that_its_own_facts_name(tally_house, log):
    seen = {}

    def note(key, facts, directory):
        seen[key.entity_id] = sorted(directory.placements)
        return (len(facts), None)

    other = PLACEMENT.replace(b"pl-1", b"pl-2").replace(b'"d2"', b'"d9"')
    await log.apply(*DIRECTORY, other)
    work = [
        entry("a", 5), entry("b", 5, placement_id="pl-2"), entry("c", 5, placement_id="pl-9"),
    ]  # fmt: skip
    await log.apply(*work, reading=replace(TALLY, fold=note))
    assert seen == {"a": ["pl-1"], "b": ["pl-2"], "c": []}


async def test_facts_are_read_again_as_they_came(tally_house, log):
    body = entry("a", 30)
    await log.apply(body)
    key = EntityKey("firm-1", "entry", "a")
    stored = await load_facts(tally_house.conn, [key, EntityKey("firm-1", "entry", "none")])
    assert stored == {key: [read_record(on_the_log(body, 0))], key._replace(entity_id="none"): []}


async def test_only_kinds_that_the_house_keeps_are_stored(tally_house, log):
    await log.apply(entry("a", 30), reading=replace(TALLY, kinds=frozenset({"task"})))
    assert await tally_house.count("fact") == 0
    assert (await folding.load_offsets(tally_house.conn)) == {("x.time-events", 0): 1}


async def test_a_poll_costs_the_same_few_statements_for_one_event_and_for_many(tally_house, log):
    await log.apply(*DIRECTORY)
    counts = []
    for bodies in ([entry("a", 1)], [entry(f"n-{n}", 1) for n in range(300)]):
        batch = await log.batch(bodies)
        sent: list[object] = []
        with tally_house.conn.query_logger(sent.append):
            await apply(tally_house.conn, TALLY, [batch])
        counts.append(len(sent))
    assert counts[0] == counts[1] <= 11


# Failures


async def test_what_cannot_be_read_is_parked_and_the_rest_goes_on(tally_house, log):
    good = entry("a", 30)
    batch = await log.batch([good] * 4)
    records = list(batch.records)
    records[0] = replace(records[0], value=b"{")
    records[1] = replace(records[1], headers=[])
    records[2] = replace(records[2], value=good.replace(b"time.rec", b"time.unrec"), key=None)
    await apply(tally_house.conn, TALLY, [batch._replace(records=records)])
    parked = await tally_house.conn.fetch(
        'select topic, "offset", code, body, key from quarantine order by "offset"'
    )
    assert [tuple(row) for row in parked] == [
        ("x.time-events", 0, "bad_json", b"{", b"firm-1"),
        ("x.time-events", 1, "header_content_type", good, b"firm-1"),
        ("x.time-events", 2, "unknown_type", records[2].value, None),
    ]
    assert await tally_house.rows() == {"a": (1, None)}


async def test_a_failed_entity_keeps_its_facts_and_stops_nobody(tally_house, log):
    await log.apply(entry("trap", 5), entry("a", 30))
    line = tally.__code__.co_firstlineno + 3
    assert await tally_house.failed() == {"trap": f"ArithmeticError at tally.py:{line}"}
    assert await tally_house.count("fact") == 2
    assert await tally_house.rows() == {"a": (1, None)}


async def test_a_failed_entity_is_folded_again_by_a_program_that_can(settings, tally_house, log):
    await log.apply(entry("trap", 5))
    mended = replace(TALLY, fold=lambda _, facts, __: (len(facts), "mended"))
    again = Applying(settings, mended, asyncio.Event())
    await again.queue_failed()
    await again.queue_failed()
    assert await tally_house.count("refold") == 1
    await again.drain()
    await again.close()
    assert await tally_house.failed() == {}
    assert await tally_house.rows() == {"trap": (1, "mended")}


async def test_a_state_that_the_tables_refuse_costs_its_entity_only(tally_house, log):
    await log.apply(entry("b", 5), entry("refused", 5), entry("a", 30))
    assert list(await tally_house.failed()) == ["refused"]
    assert (await tally_house.failed())["refused"].startswith("CheckViolationError at ")
    assert await tally_house.rows() == {"a": (1, None), "b": (1, None)}


async def test_a_stored_record_that_is_no_longer_readable_costs_its_entity_only(tally_house, log):
    await log.apply(*DIRECTORY)
    await log.apply(entry("a", 5), entry("b", 5))
    await tally_house.conn.execute("update fact set body = '{}' where entity_id in ('a', 'pl-1')")
    await log.apply(entry("a", 5, event_id="e2"), entry("b", 5, event_id="e3"))
    await log.apply(MOVED, FIRM)
    failed = await tally_house.failed()
    assert {name: why.split()[0] for name, why in failed.items()} == {
        "a": "ValidationError", "pl-1": "ValidationError",
    }  # fmt: skip
    assert await tally_house.rows() == {"b": (2, "PH")}


@pytest.mark.parametrize("breaks", ["fold", "save"])
async def test_what_fails_leaves_nothing_of_an_earlier_poll(tally_house, log, breaks):
    """In two polls, in one and after a rebuild: the same rows, whatever could be folded before."""

    def fold(key, facts, directory):
        if breaks == "fold" and len(facts) > 1:
            raise ArithmeticError("a fault of ours")
        state = TALLY.fold(key, facts, directory)
        return (2**40, None) if len(facts) > 1 and key.entity_id == "a" else state

    reading = replace(TALLY, fold=fold)
    first, second = [entry("a", 5), entry("b", 5)], entry("a", 5, event_id="e2")
    await log.apply(*first, reading=reading)
    assert await tally_house.rows() == {"a": (1, None), "b": (1, None)}
    for polls in (([second],), ([*first, second],)):
        for poll in polls:
            await log.apply(*poll, reading=reading)
        assert await tally_house.rows() == {"b": (1, None)}
        assert list(await tally_house.failed()) == ["a"]
        await rebuild(tally_house.conn)
        log.ends.clear()


# The fence


async def test_the_fence_refuses_a_batch_whose_offset_has_moved_on(tally_house, log):
    first = await log.batch([entry("a", 30)])
    await apply(tally_house.conn, TALLY, [first])
    for stale in (
        first,
        first._replace(first=0, next=2),
        first._replace(first=1, next=2, topic_id=UUID(int=8)),
        first._replace(partition=1),
    ):
        with pytest.raises(Fenced):
            await apply(tally_house.conn, TALLY, [stale])
    assert await tally_house.count("fact") == 1
    assert await folding.load_offsets(tally_house.conn) == {("x.time-events", 0): 1}


async def test_batches_that_are_applied_together_are_applied_all_or_none(tally_house, log):
    first = await log.batch([entry("a", 30)])
    await place(tally_house.conn, first.topic, 1, LogState(TOPIC_ID, 0, 1))
    record = replace(on_the_log(entry("b", 5), 0), partition=1)
    second = first._replace(partition=1, records=[record])
    with pytest.raises(Fenced):
        await apply(tally_house.conn, TALLY, [first, second._replace(first=1, next=2)])
    assert await tally_house.rows() == {}
    await apply(tally_house.conn, TALLY, [first, second])
    assert await tally_house.rows() == {"a": (1, None), "b": (1, None)}
    assert await folding.load_offsets(tally_house.conn) == {
        ("x.time-events", 0): 1, ("x.time-events", 1): 1,
    }  # fmt: skip


async def test_of_two_owners_in_the_middle_of_a_batch_one_is_refused(settings, tally_house, log):
    batch = await log.batch([entry("a", 30), entry("b", 30)])
    conns = [await connect(settings, "metrics", "writer") for _ in range(2)]
    done = await asyncio.gather(
        *(apply(conn, TALLY, [batch]) for conn in conns), return_exceptions=True
    )
    assert [type(one) for one in done if one is not None] == [Fenced]
    assert await tally_house.rows() == {"a": (1, None), "b": (1, None)}
    for conn in conns:
        await conn.close()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (LogState(UUID(int=8), 0, 9), "deleted and made again"),
        (LogState(UUID(int=0), 0, 9), "does not exist"),
        (LogState(TOPIC_ID, 3, 9), "next is 2, the log holds 3 to 9"),
        (LogState(TOPIC_ID, 0, 1), "next is 2, the log holds 0 to 1"),
    ],
)
async def test_a_log_that_is_not_the_one_we_know_is_refused(tally_house, log, state, words):
    await log.apply(entry("a", 30), entry("b", 30))
    with pytest.raises(Discontinuity, match=words):
        await place(tally_house.conn, "x.time-events", 0, state)
    last = digest_of(on_the_log(entry("b", 30), 1, received=1))
    found = await place(tally_house.conn, "x.time-events", 0, LogState(TOPIC_ID, 2, 2))
    assert found == (2, last)


async def test_a_log_whose_beginning_is_gone_is_never_begun(tally_house):
    with pytest.raises(Discontinuity, match="begins at 1: its first records are gone"):
        await place(tally_house.conn, "x.time-events", 0, LogState(TOPIC_ID, 1, 9))
    assert await folding.load_offsets(tally_house.conn) == {}


# Other writers


async def test_a_fact_that_another_writer_adds_during_a_fold_is_not_lost(
    tally_house, log, intruder
):
    """Without the comparison of row versions the entity would end with one fact."""
    other = on_the_log(entry("a", 5, event_id="other"), 1000)
    folds = []

    def interrupted(key, facts, directory):
        folds.append(len(facts))
        if len(folds) == 1:
            fact = read_record(other)
            assert isinstance(fact, Fact)
            intruder.execute(ADD_FACT, fact_row(fact, other.value))
            intruder.execute("insert into entity values ('firm-1', 'entry', 'a', 1, 1)")
        return TALLY.fold(key, facts, directory)

    await log.apply(entry("a", 5), reading=replace(TALLY, fold=interrupted))
    assert folds == [1, 2]
    assert await tally_house.rows() == {"a": (2, None)}
    row = await tally_house.conn.fetchrow("select row_version, records from entity")
    assert tuple(row) == (2, 2)


async def test_no_timeline_is_replaced_while_a_fold_relies_on_it(tally_house, log, intruder):
    """Without the share lock the fold would commit against what was just replaced."""
    refusals = []

    def interrupted(key, facts, directory):
        for table in ("firm", "placement"):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                intruder.execute(f"select from {table} where firm_id = 'firm-1' for update")
            refusals.append(table)
        return TALLY.fold(key, facts, directory)

    await log.apply(*DIRECTORY)
    await log.apply(entry("a", 5), reading=replace(TALLY, fold=interrupted))
    assert refusals == ["firm", "placement"]
    assert await tally_house.rows() == {"a": (1, "PH")}


@pytest.mark.parametrize(
    ("change", "seen"), [(MOVED, "US MX"), (FIRM_MOVED, "CA PH")], ids=["placement", "firm"]
)
async def test_a_fold_that_waited_for_a_directory_change_reads_what_it_wrote(
    settings, tally_house, log, change, seen
):
    """A timeline read before the lock was had would be the old one."""

    def note(_, facts, directory):
        timelines = directory.firm.countries, directory.placements["pl-1"].countries
        return (len(facts), " ".join(one.on(START.date()) for one in timelines))

    await log.apply(*DIRECTORY)
    changes, work = await log.batch([change]), await log.batch([entry("a", 5)])
    applied, waited = asyncio.Event(), asyncio.Event()
    changing, folding_ = [await connect(settings, "metrics", "writer") for _ in range(2)]

    async def change_slowly():
        async with changing.transaction():
            await apply(changing, TALLY, [changes])
            applied.set()
            await waited.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(change_slowly())
        await applied.wait()
        group.create_task(apply(folding_, replace(TALLY, fold=note), [work]))
        async with asyncio.timeout(20):
            while not await tally_house.conn.fetchval(WAITING):  # noqa: ASYNC110 (another session)
                await asyncio.sleep(0.01)
        waited.set()
    assert await tally_house.rows() == {"a": (1, seen)}
    assert await tally_house.count("refold") == 0
    await changing.close()
    await folding_.close()


async def test_a_directory_change_queues_facts_that_were_committed_while_it_waited(
    settings, tally_house, log
):
    await log.apply(*DIRECTORY)
    change, work = await log.batch([MOVED]), await log.batch([entry("a", 5)])
    saved, go_on = asyncio.Event(), asyncio.Event()
    changing, folding_ = [await connect(settings, "metrics", "writer") for _ in range(2)]

    async def save_slowly(conn, states):
        await TALLY.save(conn, states)
        saved.set()
        await go_on.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(apply(folding_, replace(TALLY, save=save_slowly), [work]))
        await saved.wait()
        changed = group.create_task(apply(changing, TALLY, [change]))
        await asyncio.sleep(0.1)
        assert not changed.done()
        go_on.set()
    assert await tally_house.rows() == {"a": (1, "PH")}
    assert await drain_refolds(tally_house.conn, TALLY) == 1
    assert await tally_house.rows() == {"a": (1, "MX")}
    await changing.close()
    await folding_.close()


async def test_writers_who_contest_an_entity_leave_it_right(settings, tally_house):
    await put(settings, [*DIRECTORY, MOVED], "admin:a")
    ids = [f"n-{n}" for n in range(20)]
    async with consuming(settings), asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(contest(settings, ids))
        for number in range(4):
            bodies = [entry(i, 5, event_id=f"{number}-{i}", revision=number + 1,
                            reason="again") for i in ids]  # fmt: skip
            await put(settings, [b.replace(b"time.recorded", b"time.amended") for b in bodies])
            await put(settings, [moved("CO", number, f"2026-06-1{number}")], "admin:a")
        await tally_house.settle()
    assert await tally_house.rows() == dict.fromkeys(ids, (4, "CO"))
    assert await tally_house.failed() == {}


async def contest(settings, ids):
    """Fold the same entities again and again over connections of our own."""
    applying = Applying(settings, TALLY, asyncio.Event())
    conn = await connect(settings, "metrics", "writer")
    for _ in range(30):
        await conn.execute(
            "insert into refold (firm_id, kind, entity_id, reason) "
            "select 'firm-1', 'entry', i, 'test' from unnest($1::text[]) i",
            ids,
        )
        await applying.drain()
    await applying.close()
    await conn.close()


# Large entities and slices


async def test_an_entity_with_very_many_records_is_left_to_the_queue(tally_house, log, monkeypatch):
    monkeypatch.setattr(folding, "RECORDS_MAX", 5)
    many = [entry("a", 5, event_id=f"e-{n}") for n in range(8)]
    await log.apply(*many[:5], entry("b", 5))
    assert await tally_house.rows() == {"a": (5, None), "b": (1, None)}
    for body in many[5:]:
        await log.apply(body, entry("c", 5))
    assert (await tally_house.rows())["a"] == (5, None)
    assert await tally_house.conn.fetchval("select records from entity where entity_id = 'a'") == 8
    queued = await tally_house.conn.fetch(
        "select entity_id, reason, due_at - queued_at as wait from refold"
    )
    assert [tuple(row) for row in queued] == [("a", "large", timedelta(seconds=60))]
    assert not await caught_up(tally_house.conn, {})
    await tally_house.conn.execute("update refold set due_at = now()")
    assert await drain_refolds(tally_house.conn, TALLY) == 1
    assert (await tally_house.rows())["a"] == (8, None)
    assert await caught_up(tally_house.conn, {("x.time-events", 0): 9})


async def test_large_entities_keep_nobody_waiting_even_if_their_folds_are_cut(
    settings, tally_house, log, monkeypatch
):
    monkeypatch.setattr(folding, "RECORDS_MAX", 3)
    monkeypatch.setattr(consuming_room, "CUT_SECONDS", 0.5)

    async def save(conn, states):
        while "a" in {key.entity_id for key, _ in states}:
            await conn.execute("select pg_sleep(0.05)")
        await TALLY.save(conn, states)

    def elsewhere(body):
        return body.replace(b"firm-1", b"firm-2")

    await log.apply(*map(elsewhere, DIRECTORY))
    work = [entry(name, 5, event_id=f"{name}-{n}") for name in "ab" for n in range(5)]
    await log.apply(*work, elsewhere(entry("c", 5)))
    await tally_house.conn.execute("update refold set due_at = now() - interval '1 s'")
    await tally_house.conn.execute(
        "update refold set due_at = now() - interval '1 h', reason = 'firm' where entity_id = 'a'"
    )
    await apply(tally_house.conn, TALLY, [await log.batch([elsewhere(MOVED)])])
    applying = Applying(settings, replace(TALLY, save=save), asyncio.Event())
    with pytest.raises(STORE_ERRORS):
        await applying.drain()
    assert await tally_house.rows() == {"c": (1, "MX")}
    await applying.drain()
    assert await tally_house.rows() == {"b": (5, None), "c": (1, "MX")}
    left = await tally_house.conn.fetch("select entity_id, due_at > now() as later from refold")
    assert [tuple(row) for row in left] == [("a", True)]
    await applying.close()
    await tally_house.conn.execute("update refold set due_at = now()")
    assert await drain_refolds(tally_house.conn, TALLY) == 1
    assert (await tally_house.rows())["a"] == (5, None)
    assert await tally_house.count("refold") == 0


async def test_a_slice_of_the_queue_ends_where_its_records_are_many(tally_house, log, monkeypatch):
    monkeypatch.setattr(folding, "SLICE_RECORDS_MAX", 10)
    await log.apply(*(entry(f"n-{n % 4}", 5, event_id=f"e-{n}") for n in range(24)))
    await apply(tally_house.conn, TALLY, [await log.batch(DIRECTORY)])
    taken = [await drain_refolds(tally_house.conn, TALLY) for _ in range(3)]
    assert taken == [2, 2, 0]
    assert await tally_house.rows() == {f"n-{n}": (6, "PH") for n in range(4)}


async def test_facts_are_held_a_slice_at_a_time(tally_house, log, monkeypatch):
    monkeypatch.setattr(folding, "SLICE_RECORDS_MAX", 10)
    loads = []

    async def counting(conn, keys):
        rows = await load_rows(conn, keys)
        loads.append(sum(map(len, rows.values())))
        return rows

    monkeypatch.setattr(folding, "load_rows", counting)
    bodies = [entry(f"n-{n % 8}", 5, event_id=f"e-{n}") for n in range(40)]
    await log.apply(*bodies[:8])
    assert sum(loads) == 0  # what is new needs no reading back
    await log.apply(*bodies[8:])
    assert await tally_house.rows() == {f"n-{n}": (5, None) for n in range(8)}
    assert (sum(loads), max(loads)) == (40, 5)


# Rebuilding


async def test_a_rebuild_under_a_running_consumer_gives_the_same(settings, tally_house):
    await put(settings, DIRECTORY, "admin:a")
    await put(settings, [entry(f"n-{n}", 1) for n in range(50)])
    async with consuming(settings):
        await tally_house.settle()
        before = await tally_house.rows()
        await rebuild(tally_house.conn)
        assert await tally_house.rows() == {}
        await tally_house.settle()
        assert await tally_house.rows() == before
    assert len(before) == 50


async def test_a_rebuild_empties_what_is_derived_and_keeps_what_is_own(tally_house, log):
    await log.apply(*DIRECTORY)
    await log.apply(entry("a", 5))
    await tally_house.conn.execute(
        "insert into audit (actor, action, subject) values ('admin:a', 'tested', '')"
    )
    await rebuild(tally_house.conn)
    for table in ("fact", "entity", "firm", "placement", "consumer_offset", "refold", "tally"):
        assert await tally_house.count(table) == 0, table
    assert await tally_house.count("audit") == 1


async def test_caught_up_asks_for_offsets_and_queue(tally_house, log):
    assert await caught_up(tally_house.conn, {("x.time-events", 0): 0})
    assert not await caught_up(tally_house.conn, {("x.time-events", 0): 1})
    await log.apply(entry("a", 5))
    assert await caught_up(tally_house.conn, {("x.time-events", 0): 1})
    await apply(tally_house.conn, TALLY, [await log.batch([*DIRECTORY])])
    assert not await caught_up(tally_house.conn, {("x.directory", 0): 2})
    await drain_refolds(tally_house.conn, TALLY)
    assert await caught_up(tally_house.conn, {("x.directory", 0): 2})


async def test_a_frozen_connection_is_cut_and_the_next_one_works(
    settings, tally_house, monkeypatch
):
    monkeypatch.setattr(consuming_room, "CUT_SECONDS", 0.2)
    applying = Applying(settings, TALLY, asyncio.Event())
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        async with applying._connection() as conn:
            await conn.execute("select pg_sleep(30)")
    assert await applying.offsets() == {}
    await applying.close()


@pytest.mark.parametrize("module", [folding, directories])
async def test_every_statement_is_one_that_the_schema_knows(tally_house, module):
    assert module.SQL
    for text in module.SQL.values():
        await tally_house.conn.prepare(text)
