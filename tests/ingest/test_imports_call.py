"""POST /v1/imports on real servers: good rows on the log once, each bad one told with its line."""

import asyncio
import json
import threading
import tomllib
from contextlib import contextmanager

import psycopg
from psycopg import sql

from schemas.envelope import read_event
from services.ingest import api
from services.ingest.api import PLANNER, PRODUCER
from services.kafka import ensure_topics
from services.producer import QUEUE_RECORDS_MAX, Record
from services.web.http import Limits
from tests.ingest.conftest import PLACED, event, raw, running
from tests.ingest.exports import CLOCKIFY, RULES, TOGGL, clockify, file_of, toggl
from tests.tally import until

JSON = "application/json"
MANILA = "timezone=Asia/Manila"
DAY_ONE = [toggl(), toggl("2026-07-01 11:00:00", "2026-07-01 12:00:00", project="Mail")]
DAY_TWO = [toggl("2026-07-02 09:00:00", "2026-07-02 10:00:00")]


async def bring(
    door, token, *rows, form="toggl", rules=RULES, more="", header=None, media=JSON
):  # fmt: skip
    content = file_of(header or (TOGGL if form == "toggl" else CLOCKIFY), *rows)
    body = json.dumps({"csv": content.decode(), "mapping": tomllib.loads(rules)}).encode()
    return await door.post(
        token,
        content if media == "text/csv" else body,
        media,
        f"/v1/imports?format={form}&{MANILA}{more}",
    )


def told(reply):
    assert reply.status == 200, reply.body
    refusals = [(row["line"], row["code"]) for row in reply.body["refusals"]]
    assert reply.body["refused"] == len(refusals)
    return reply.body["rows"], reply.body["accepted"], reply.body["known"], refusals


async def test_a_file_goes_on_the_log_once_however_often_it_comes(door):
    admin = await door.admin()
    bad = [toggl(project="Golf"), "short"]
    first = await bring(door, admin, *DAY_ONE, *bad, *DAY_TWO)
    refusals = [(4, "unmapped"), (5, "cells")]
    assert told(first) == (5, 3, 0, refusals)
    assert told(await bring(door, admin, *DAY_ONE, *bad, *DAY_TWO)) == (5, 0, 3, refusals)
    records = await door.records("time-events")
    assert [record.key for record in records] == [b"f-1"] * 3
    assert {dict(record.headers)["principal"] for record in records} == {b"admin:one"}
    entries = [read_event(record.value) for record in records]
    assert [entry.time.isoformat() for entry in entries] == [
        "2026-07-01T10:00:00+08:00",
        "2026-07-01T12:00:00+08:00",
        "2026-07-02T10:00:00+08:00",
    ]
    assert {entry.source for entry in entries} == {"import/toggl"}


async def test_a_later_file_with_other_rows_of_a_day_is_refused_for_that_day(door):
    admin = await door.admin()
    await bring(door, admin, *DAY_ONE)
    reply = await bring(door, admin, DAY_ONE[0], *DAY_TWO)
    assert told(reply) == (2, 1, 0, [(2, "day_already_imported")])
    assert "2026-07-01" in reply.body["refusals"][0]["detail"]
    assert len(await door.records("time-events")) == 3


async def test_the_other_format_and_another_person_have_days_of_their_own(door):
    admin = await door.admin()
    await bring(door, admin, *DAY_ONE)
    assert told(await bring(door, admin, clockify(), form="clockify")) == (1, 1, 0, [])
    rules = RULES.replace("maria", "ana").replace("p-1", "p-2")
    other = toggl(email="ana@example.com", user="Ana")
    assert told(await bring(door, admin, other, rules=rules)) == (1, 1, 0, [])


async def test_a_dry_run_tells_the_same_and_changes_nothing(door):
    admin = await door.admin()
    dry = await bring(door, admin, *DAY_ONE, more="&dry_run=true")
    assert (told(dry), dry.body["dry_run"]) == ((2, 2, 0, []), True)
    assert await door.log_is_empty()
    # It has claimed nothing: a file with other rows of the day still comes in.
    assert told(await bring(door, admin, DAY_ONE[0])) == (1, 1, 0, [])
    again = await bring(door, admin, *DAY_ONE, more="&dry_run=true")
    assert told(again) == (2, 0, 0, [(2, "day_already_imported"), (3, "day_already_imported")])


async def test_a_bare_csv_lists_what_needs_a_rule(door):
    admin = await door.admin()
    reply = await bring(door, admin, *DAY_ONE, media="text/csv", more="&firm_id=f-1")
    assert told(reply) == (2, 0, 0, [(2, "unmapped"), (3, "unmapped")])
    detail = reply.body["refusals"][0]["detail"]
    assert detail == "no rule gives placement_id, task_type"


async def test_no_name_and_no_word_of_the_file_is_kept_anywhere(door):
    admin = await door.admin()
    reply = await bring(door, admin, *DAY_ONE, toggl(project="Golf"))
    with psycopg.connect(door.settings.database_url) as owner:
        kept = [
            str(
                owner.execute(
                    sql.SQL("select * from ingest.{}").format(sql.Identifier(table))
                ).fetchall()
            )
            for table in ("import_day", "import_row", "import_sent", "audit")
        ]
    logged = [repr((r.value, r.headers)) for r in await door.records("time-events")]
    words = ("Maria", "maria", "example.com", "Hartwell", "Intake", "Golf", "clerk")
    places = [*kept, *logged, json.dumps(reply.body)]
    assert [word for word in words for place in places if word in place] == []
    assert all(len(table) > 2 for table in kept)


async def test_each_import_leaves_one_audit_row(door):
    firm = await door.token("firm", scopes=("import",), placements=("*",), sources=("import",))
    await bring(door, await door.admin(), *DAY_ONE)
    await bring(door, firm, *DAY_TWO)
    with psycopg.connect(door.settings.database_url) as owner:
        rows = owner.execute(
            "select firm_id, actor, action, subject, details from ingest.audit order by audit_id"
        ).fetchall()
    assert rows == [
        ("*", "admin:one", "import_rows", "toggl", {"rows": 2}),
        ("f-1", "firm:one", "import_rows", "toggl", {"rows": 1}),
    ]


async def test_a_firm_imports_its_own_and_meets_nothing_of_another(door):
    both = ("import",)
    one = await door.token("firm", scopes=both, placements=("*",), sources=("import",))
    two = await door.token(
        "firm", principal_id="firm:two", scopes=both, firms=("f-2",), placements=("*",),
        sources=("import",),
    )  # fmt: skip
    assert told(await bring(door, one, *DAY_ONE)) == (2, 2, 0, [])
    assert told(await bring(door, two, *DAY_ONE)) == (2, 0, 0, [(2, "not_bound"), (3, "not_bound")])
    theirs = RULES.replace("f-1", "f-2").replace("p-1", "p-2")
    assert told(await bring(door, two, DAY_ONE[0], rules=theirs)) == (1, 1, 0, [])
    # Who sees all firms sees that the day was told in two ways.
    admin = await door.admin()
    reply = await bring(door, admin, *DAY_ONE)
    assert told(reply) == (2, 0, 0, [(2, "day_already_imported"), (3, "day_already_imported")])


async def test_a_placement_of_another_firm_is_not_bound(door):
    admin = await door.admin()
    started = event("d-1", "placement.started", **(PLACED | {"firm_id": "f-2"}))
    await door.post(admin, raw(started))
    await door.knows_placement("p-1")
    assert told(await bring(door, admin, toggl())) == (1, 0, 0, [(2, "not_bound")])


REFUSED = [
    ("format=harvest&timezone=Asia/Manila", 422, "invalid_query"),
    ("format=toggl", 422, "invalid_query"),
    ("format=toggl&timezone=%2B08:00", 422, "invalid_query"),
    ("format=toggl&timezone=Asia/Manila&firm_id=a/b", 422, "invalid_query"),
    ("format=toggl&timezone=Asia/Manila&colour=red", 422, "invalid_query"),
]


async def test_a_wrong_call_gets_its_documented_answer(door):
    admin, tracker = await door.admin(), await door.token()
    body = json.dumps({"csv": file_of(TOGGL, toggl()).decode()}).encode()
    for query, status, code in REFUSED:
        reply = await door.post(admin, body, JSON, f"/v1/imports?{query}")
        assert (reply.status, reply.body["code"]) == (status, code), query
    path = f"/v1/imports?format=toggl&{MANILA}"
    answers = [
        (await door.post(None, body, JSON, path), 401, "unauthorized"),
        (await door.post(tracker, body, JSON, path), 403, "scope_missing"),
        (await door.post(admin, body, "text/plain", path), 415, "media_type"),
        (await door.post(admin, b"{", JSON, path), 400, "bad_json"),
        (await door.post(admin, b'{"csv": "", "csv": ""}', JSON, path), 400, "bad_json"),
        (await door.post(admin, b"{}", JSON, path), 422, "invalid_body"),
        (await door.post(admin, b'{"csv": ""}', JSON, path), 422, "no_header"),
        (await door.post(admin, b"\xff", "text/csv", path), 422, "not_utf8"),
        (await door.post(admin, b"a,b\r\n", "text/csv", path), 422, "missing_column"),
    ]
    assert [(r.status, r.body["code"]) for r, *_ in answers] == [(s, c) for _, s, c in answers]
    rule = {"rule": [{"task_type": "advice"}]}
    wrong = json.dumps({"csv": "", "mapping": rule}).encode()
    reply = await door.post(admin, wrong, JSON, path)
    assert reply.body["errors"][0]["pointer"] == "/mapping/rule/0/task_type"
    assert await door.log_is_empty()


async def test_a_broken_file_says_the_line_and_none_of_its_words(door):
    admin = await door.admin()
    late = clockify("31/07/2026 09:00 AM", "31/07/2026 10:00 AM")
    reply = await bring(door, admin, clockify(), late, form="clockify")
    assert (reply.status, reply.body["code"]) == (422, "date_format")
    assert reply.body["errors"][0]["pointer"] == "/csv"
    assert "line 3" in reply.body["errors"][0]["detail"]
    assert await door.log_is_empty()


async def test_a_file_whose_outcome_is_unknown_is_sent_again_and_no_other_takes_its_day(settings):
    nowhere = {"kafka_bootstrap_servers": "127.0.0.1:1", "produce_deadline_seconds": 1.0}
    async with running(settings.model_copy(update=nowhere)) as door:
        admin = await door.admin()
        reply = await bring(door, admin, *DAY_ONE)
        assert (reply.status, reply.body["code"]) == (503, "outcome_unknown")
    await ensure_topics(settings)
    async with running(settings) as door:
        await door.app[PRODUCER].wait_connected()
        other = await bring(door, admin, DAY_ONE[0])
        assert told(other) == (1, 0, 0, [(2, "day_already_imported")])
        assert told(await bring(door, admin, *DAY_ONE)) == (2, 2, 0, [])
        assert told(await bring(door, admin, *DAY_ONE)) == (2, 0, 2, [])
        assert len(await door.records("time-events")) == 2


@contextmanager
def held_back(door):
    """Let nobody note that rows are on the log; yields the connection that does."""
    with psycopg.connect(door.settings.database_url) as owner:
        owner.execute("lock table ingest.import_sent in share mode")
        yield owner


def waiting(door):
    """Find the sessions that wait to note it."""
    with psycopg.connect(door.settings.database_url) as owner:
        return owner.execute(
            "select pid from pg_stat_activity where datname = current_database()"
            " and wait_event_type = 'Lock' and query like '%insert into import_sent%'"
        ).fetchall()


async def test_without_a_database_to_note_it_what_the_log_has_is_unknown_and_may_come_again(door):
    admin = await door.admin()
    with held_back(door) as owner:
        asked = asyncio.create_task(bring(door, admin, *DAY_ONE))
        await until(lambda: waiting(door))
        [[pid]] = waiting(door)
        owner.execute("select pg_terminate_backend(%s)", [pid])
        reply = await asked
    assert (reply.status, reply.body["code"]) == (503, "outcome_unknown")
    assert int(reply.headers["Retry-After"]) >= 1
    assert len(await door.records("time-events")) == 2
    assert told(await bring(door, admin, *DAY_ONE)) == (2, 2, 0, [])
    assert told(await bring(door, admin, *DAY_ONE)) == (2, 0, 2, [])


async def test_a_deadline_that_passes_while_rows_are_noted_tells_no_more_than_it_knows(settings):
    await ensure_topics(settings)
    async with running(settings, Limits(handler_seconds=2)) as door:
        await door.app[PRODUCER].wait_connected()
        admin = await door.admin()
        with held_back(door):
            reply = await bring(door, admin, *DAY_ONE)
        assert (reply.status, reply.body["code"]) == (503, "outcome_unknown")
        assert len(await door.records("time-events")) == 2


async def test_a_file_whose_later_part_finds_no_room_is_not_told_that_nothing_is_on_the_log(
    door, monkeypatch
):
    monkeypatch.setattr(api, "EVENTS_MAX", 1)
    admin, producer = await door.admin(), door.app[PRODUCER]
    some = [Record(b"f-1", b"x" * 200, [])] * QUEUE_RECORDS_MAX
    with held_back(door) as owner:
        asked = asyncio.create_task(bring(door, admin, *DAY_ONE))
        await until(lambda: waiting(door))
        producer._connected.clear()  # nothing is sent, and nobody is told that Kafka is away
        pile = asyncio.create_task(producer.produce(door.settings.topic("ready"), some, 30))
        await until(lambda: producer._queued_records == QUEUE_RECORDS_MAX)
        owner.rollback()
        reply = await asked
    other = await bring(door, admin, *DAY_TWO)
    producer._connected.set()
    assert (reply.status, reply.body["code"]) == (503, "outcome_unknown")
    assert (other.status, other.body["code"]) == (429, "overloaded")
    await pile
    assert len(await door.records("time-events")) == 1
    assert told(await bring(door, admin, *DAY_ONE)) == (2, 1, 1, [])


async def test_two_files_of_one_day_at_once_do_not_both_come_in(door):
    admin = await door.admin()
    replies = await asyncio.gather(
        *(bring(door, admin, *rows) for rows in (DAY_ONE, DAY_ONE[:1], DAY_ONE[1:]) * 3)
    )
    brought = {told(reply)[1] for reply in replies} - {0}
    records = await door.records("time-events")
    assert brought <= {1, 2}
    assert len({read_event(record.value).id for record in records}) in {1, 2}
    taken = [reply for reply in replies if not reply.body["refusals"]]
    assert len({reply.body["rows"] for reply in taken}) == 1


async def test_of_large_files_one_is_in_hand_at_a_time_and_small_ones_go_past(door):
    admin = await door.admin()
    large = [toggl()] * 600  # more than 64 KiB
    with held_back(door):
        first = asyncio.create_task(bring(door, admin, *large))
        await until(lambda: waiting(door))
        second = await bring(door, admin, *large, more="&dry_run=true")
        assert (second.status, second.body["code"]) == (503, "overloaded")
        assert second.headers["Retry-After"] == "1"
        assert told(await bring(door, admin, *DAY_TWO, more="&dry_run=true")) == (1, 1, 0, [])
    assert told(await first) == (600, 600, 0, [])
    assert told(await bring(door, admin, *large, more="&dry_run=true")) == (600, 0, 600, [])


async def test_a_large_file_that_nobody_waits_for_any_more_is_planned_before_the_next(door):
    admin = await door.admin()
    large = [toggl()] * 600
    ended = threading.Event()
    left = door.app[PLANNER].submit(ended.wait)  # as one whose request's time was up
    asked = asyncio.create_task(bring(door, admin, *large, more="&dry_run=true"))
    await until(lambda: door.app[PLANNER]._work_queue.qsize() == 1)
    assert not asked.done()
    ended.set()
    assert told(await asked) == (600, 600, 0, [])
    assert left.done()


async def test_a_large_file_is_taken_whole(door):
    admin = await door.admin()
    rows = [
        toggl(f"2026-07-{1 + n % 28:02} 09:00:00", f"2026-07-{1 + n % 28:02} 10:00:00")
        for n in range(6_000)
    ]
    assert told(await bring(door, admin, *rows)) == (6_000, 6_000, 0, [])
    records = await door.records("time-events")
    assert len({read_event(record.value).id for record in records}) == 6_000
