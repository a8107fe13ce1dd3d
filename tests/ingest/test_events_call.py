"""POST /v1/events on real servers: four modes in, each event told apart, and the log as proof."""

import asyncio
import gzip
import json
import random
from datetime import UTC, datetime, timedelta

from aiokafka import TopicPartition

from services.ingest.api import PRODUCER
from services.ingest.app import HEALTH
from services.kafka import ensure_topics, log_ends
from services.producer import QUEUE_RECORDS_MAX, Record
from services.web.http import Limits
from tests.ingest.conftest import PLACED, event, raw, running
from tests.tally import until

BATCH = "application/cloudevents-batch+json"
LINES = "application/x-ndjson"


async def test_a_structured_event_lies_on_the_log_byte_for_byte(door):
    token = await door.token()
    body = raw(event() | {"tool": "x"}) + b"\n"
    before = datetime.now(UTC)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    reply = await door.post(token, body, traceparent=trace)
    assert (reply.status, reply.body) == (
        202,
        {
            "accepted": 1,
            "rejected": 0,
            "results": [
                {
                    "index": 0,
                    "source": "tracker/asst-1/laptop",
                    "id": "a-1",
                    "status": "accepted",
                }
            ],
        },
    )
    [record] = await door.records("task-events")
    assert (record.key, record.value) == (b"f-1", body)
    headers = dict(record.headers)
    received_at = datetime.fromisoformat(headers.pop("received_at").decode())
    assert before <= received_at <= datetime.now(UTC)
    assert headers == {
        "content-type": b"application/cloudevents+json",
        "principal": b"tracker:one",
        "traceparent": trace.encode(),
    }


async def test_a_batch_is_cut_into_the_senders_own_bytes(door):
    token = await door.token()
    parts = [raw(event(f"a-{n}")) for n in range(3)]
    reply = await door.post(token, b"[ " + b" ,\n".join(parts) + b"]", BATCH)
    assert (reply.status, reply.body["accepted"]) == (202, 3)
    assert [record.value for record in await door.records("task-events")] == parts


async def test_lines_go_each_to_the_topic_of_its_kind(door):
    token = await door.token()
    entry = event("e-1", "timer.started", entry_id="e", task_type="intake")
    lines = [json.dumps(one).encode() for one in (event("a-1"), entry, event("a-2"))]
    reply = await door.post(token, b"\r\n".join(lines) + b"\n", LINES)
    assert (reply.status, reply.codes) == (202, [None, None, None])
    assert [record.value for record in await door.records("task-events")] == [lines[0], lines[2]]
    assert [record.value for record in await door.records("time-events")] == [lines[1]]


async def test_binary_mode_keeps_the_bytes_of_the_data(door):
    token = await door.token()
    one = event()
    data = raw(one["data"])
    headers = {f"ce_{name}": value for name, value in one.items() if name != "data"}
    reply = await door.post(token, data, "application/json; charset=utf-8", **headers)
    assert (reply.status, reply.body["accepted"]) == (202, 1)
    [record] = await door.records("task-events")
    assert data in record.value
    assert json.loads(record.value) == one | {"datacontenttype": "application/json"}
    assert dict(record.headers)["content-type"] == b"application/cloudevents+json"


async def test_gzip_is_taken_off_once(door):
    token = await door.token()
    body = raw(event())
    reply = await door.post(token, gzip.compress(body), Content_Encoding="gzip")
    assert reply.status == 202
    assert [record.value for record in await door.records("task-events")] == [body]
    twice = await door.post(token, gzip.compress(gzip.compress(body)), Content_Encoding="gzip")
    assert (twice.status, twice.codes) == (422, ["nul"])  # what is left is a gzip, no JSON
    broken = await door.post(token, gzip.compress(body)[:-3], Content_Encoding="gzip")
    assert (broken.status, broken.body["code"]) == (400, "bad_gzip")
    brotli = await door.post(token, body, Content_Encoding="br")
    assert (brotli.status, brotli.body["code"]) == (415, "content_encoding")
    assert len(await door.records("task-events")) == 1


async def test_each_event_of_a_request_is_told_apart(door):
    token = await door.token()
    ahead = event("ahead", ago=-timedelta(hours=1))
    parts = [
        raw(event("good")),
        raw(event("strange", "time.slept")),
        raw(event("foreign", firm_id="f-2")),
        raw(event("unplaced", placement_id="p-2")),
        raw(event("impostor", source="tracker/asst-2")),
        raw(event("boss", "task.reopened", reason="x")),
        raw(event("worded", description="call with the clerk")),
        raw(ahead),
        raw(event("ancient", ago=timedelta(days=401))),
        b'{"id": "doubled", "source": "s", "id": "again"}',
        b'{"id": }',
        b"[]",
        raw(event("fine")),
    ]
    reply = await door.post(token, b"[" + b",".join(parts) + b"]", BATCH)
    assert (reply.status, reply.body["accepted"], reply.body["rejected"]) == (202, 2, 11)
    told = [(r["id"], r.get("code"), r.get("pointer")) for r in reply.body["results"]]
    assert told == [
        ("good", None, None),
        ("strange", "unknown_type", "/type"),
        ("foreign", "not_bound", "/data/firm_id"),
        ("unplaced", "not_bound", "/data/placement_id"),
        ("impostor", "source_not_bound", "/source"),
        ("boss", "type_not_allowed", "/type"),
        ("worded", "unknown_field", "/data/description"),
        ("ahead", "time_ahead", "/time"),
        ("ancient", "time_too_old", "/time"),
        (None, "duplicate_key", "/id"),
        (None, "bad_json", ""),
        (None, "not_an_object", ""),
        ("fine", None, None),
    ]
    assert [r["index"] for r in reply.body["results"]] == list(range(13))
    retry_at = datetime.fromisoformat(reply.body["results"][7]["retry_at"])
    assert retry_at == datetime.fromisoformat(ahead["time"]) - timedelta(minutes=5)
    assert [r.value for r in await door.records("task-events")] == [parts[0], parts[12]]
    assert "clerk" not in json.dumps(reply.body)


async def test_none_accepted_is_a_problem_with_the_same_list(door):
    token = await door.token()
    reply = await door.post(token, raw(event(firm_id="f-2")))
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert (reply.status, reply.body["code"], reply.body["type"]) == (
        422,
        "none_accepted",
        "urn:turnsheet:problem:none_accepted",
    )
    assert reply.body["errors"] == [
        {
            "index": 0,
            "source": "tracker/asst-1/laptop",
            "id": "a-1",
            "status": "rejected",
            "code": "not_bound",
            "pointer": "/data/firm_id",
            "detail": "not within what this token is bound to, or not there",
        }
    ]
    assert await door.log_is_empty()


DEEP = raw(event()).replace(b'"t-1"', b"[" * 20 + b"]" * 20)
SINGLE = [
    (b"{", 422, "bad_json"),
    (b"nonsense", 422, "bad_json"),
    (b"\xff\xfe", 422, "not_utf8"),
    (raw(event()).replace(b'"t-1"', b"NaN"), 422, "not_finite"),
    (raw(event()).replace(b'"t-1"', b"-Infinity"), 422, "not_finite"),
    (raw(event()).replace(b'"t-1"', b"1e999"), 422, "float_not_allowed"),
    (raw(event()).replace(b'"t-1"', b"9007199254740993"), 422, "number_range"),
    (raw(event()).replace(b"t-1", b"\\u0000"), 422, "nul"),
    (raw(event()).replace(b"t-1", b"\x00"), 422, "nul"),
    (raw(event()).replace(b"t-1", b"\\ud800"), 422, "lone_surrogate"),
    (raw(event()).replace(b'"id":', b'"id": "x", "id":'), 422, "duplicate_key"),
    (DEEP, 422, "too_deep"),
    (b"[" * 1_000_000, 422, "event_too_large"),
    (b"[" * 1_000, 422, "too_deep"),
    (b"[" * 1_001, 422, "too_many_values"),
    (raw(event()) + b" " * 65_536, 422, "event_too_large"),
    (raw(event(task_id="")), 422, "invalid_field"),
    (raw(event(task_id=...)), 422, "missing_field"),
    (raw(event("x" * 129)), 422, "invalid_field"),
]


async def test_a_bad_event_gets_its_documented_answer_and_leaves_nothing(door):
    token = await door.token()
    for body, status, code in SINGLE:
        reply = await door.post(token, body)
        assert (reply.status, reply.codes) == (status, [code]), body[:80]
    assert await door.log_is_empty()


WHOLE = [
    (b"", "application/cloudevents+json", 422, "no_events"),
    (b"[]", BATCH, 422, "no_events"),
    (b"\n\n", LINES, 422, "no_events"),
    (b"{}", BATCH, 400, "bad_json"),
    (b"[{}", BATCH, 400, "bad_json"),
    (b"[{},]", BATCH, 400, "bad_json"),
    (b"[" * 1_000_000, BATCH, 400, "bad_json"),
    (b'["\xff"]', BATCH, 400, "not_utf8"),
    (b"[" + b",".join([b"{}"] * 5_001) + b"]", BATCH, 413, "too_many_events"),
    (b"{}", "text/plain", 415, "media_type"),
    (b"{}", "application/json", 415, "media_type"),
    (b"{}", "application/cloudevents+json; charset=latin-1", 415, "media_type"),
    (b" " * (4 * 1024 * 1024 + 1), BATCH, 413, "body_too_large"),
]


async def test_a_bad_body_fails_as_a_whole_and_leaves_nothing(door):
    token = await door.token()
    for body, media, status, code in WHOLE:
        reply = await door.post(token, body, media)
        assert (reply.status, reply.body["code"]) == (status, code), (body[:40], media)
        assert reply.headers["Content-Type"] == "application/problem+json"
    bomb = gzip.compress(b" " * (64 * 1024 * 1024))
    reply = await door.post(token, bomb, BATCH, Content_Encoding="gzip")
    assert (reply.status, reply.body["code"]) == (413, "body_too_large")
    assert await door.log_is_empty()


async def test_a_body_has_at_most_4_mib_and_5000_events(door):
    token = await door.token()
    one = json.dumps(event()).encode()
    for size in (4 * 1024 * 1024 - 1, 4 * 1024 * 1024):
        body = b"[" + one + b" " * (size - len(one) - 2) + b"]"
        assert (await door.post(token, body, BATCH)).status == 202
    body = b"\n".join([one] * 5_000)
    reply = await door.post(token, body, LINES)
    assert (reply.status, reply.body["accepted"]) == (202, 5_000)
    assert len(await door.records("task-events")) == 5_002


async def test_whoever_has_no_valid_token_is_told_one_thing(door):
    body = raw(event())
    good = await door.token()
    expired = await door.token(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    revoked = await door.token()
    assert (await door.post(revoked, body)).status == 202
    await door.revoke(revoked)
    mistyped = good[:-1] + ("1" if good.endswith("0") else "0")
    answers = [
        await door.post(token, body)
        for token in (None, "", "nonsense", expired, revoked, mistyped, good + "x")
    ]
    assert {answer.status for answer in answers} == {401}
    assert len({json.dumps(answer.body) for answer in answers}) == 1
    assert answers[0].headers["WWW-Authenticate"].startswith("Bearer")
    assert len(await door.records("task-events")) == 1


async def test_a_token_without_the_scope_is_refused_before_its_body_is_read(door):
    finance = await door.token("finance", firms=("*",))
    reply = await door.post(finance, b"{")
    assert (reply.status, reply.body["code"]) == (403, "scope_missing")


async def test_directory_events_come_by_the_same_door_from_admins_only(door):
    admin, tracker = await door.admin(), await door.token()
    firm = event(
        "d-1",
        "firm.registered",
        source="agency/directory",
        timezone="America/New_York",
        country="US",
        currency="USD",
        placement_id=...,
        task_id=...,
    )
    assistant = event("d-2", "assistant.registered", assistant_id="asst-1", home_country="PH")
    assistant["data"] = {"assistant_id": "asst-1", "home_country": "PH"}
    body = b"\n".join(json.dumps(one).encode() for one in (firm, assistant))
    assert (await door.post(tracker, body, LINES)).codes == ["type_not_allowed"] * 2
    assert (await door.post(admin, body, LINES)).codes == [None, None]
    assert [(r.key, r.value) for r in await door.records("directory")] == list(
        zip([b"f-1", b"-"], body.split(b"\n"), strict=True)
    )


async def test_a_placement_of_another_firm_is_answered_like_one_that_is_not_there(door):
    admin = await door.admin()
    started = event("d-1", "placement.started", **(PLACED | {"firm_id": "f-2"}))
    assert (await door.post(admin, raw(started))).status == 202
    await door.knows_placement("p-1")
    work = [
        raw(event(f"w-{n}", "task.reopened", reason="x", placement_id=placement_id))
        for n, placement_id in enumerate(("p-1", "p-9"))
    ]
    body = b"[" + b",".join(work) + b"]"
    broad = await door.token("firm", placements=("*",), sources=("*",))
    assert (await door.post(broad, body, BATCH)).codes == [None, None]
    assert [(r.key, r.value) for r in await door.records("task-events")] == [
        (b"f-1", one) for one in work
    ]
    named = await door.token("firm", placements=("p-1", "p-9"), sources=("*",))
    assert (await door.post(named, body, BATCH)).codes == ["not_bound", None]


async def test_unknown_methods_and_addresses_are_problems_too(door):
    async with door.http.get(door.url + "/v1/events") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert response.content_type == "application/problem+json"
    async with door.http.post(door.url + "/v1/nothing") as response:
        assert response.status == 404
        assert response.content_type == "application/problem+json"


async def test_a_query_is_refused(door):
    reply = await door.post(await door.token(), raw(event()), path="/v1/events?x=1")
    assert (reply.status, reply.body["code"]) == (422, "invalid_query")


async def test_health_and_counters_are_on_their_own_port_and_hold_no_words(door):
    token = await door.token()
    await door.post(token, raw(event("secret-id")))
    await door.post(token, raw(event(description="Canary")))
    async with door.http.get(door.ops_url + "/readyz") as response:
        told = await response.json()
        assert (response.status, told["ready"]) == (200, True), told
    async with door.http.get(door.ops_url + "/metrics") as response:
        told = await response.text()
    assert 'turnsheet_events_accepted_total{type="turnsheet.task.started.v1"}' in told
    assert 'turnsheet_events_rejected_total{code="unknown_field"}' in told
    assert not any(word in told for word in ("Canary", "secret-id", "f-1", "asst-1", "tracker:one"))
    async with door.http.get(door.url + "/metrics") as response:
        assert response.status == 404


async def test_an_alarm_of_the_directorys_copy_is_told(door):
    door.app[HEALTH].alarms[TopicPartition("directory", 0)] = "the log lost records"
    async with door.http.get(door.ops_url + "/readyz") as response:
        told = await response.json()
    assert (response.status, told["checks"]["directory"]["reason"]) == (503, "the log lost records")


async def test_however_often_readiness_is_asked_the_log_is_probed_once_a_second(door):
    loop, topic = asyncio.get_running_loop(), door.settings.topic("ready")

    async def ask(_):
        async with door.http.get(door.ops_url + "/readyz") as response:
            return response.status

    began = loop.time()
    statuses = list(await asyncio.gather(*map(ask, range(10))))
    statuses += [await ask(n) for n in range(10)]
    passed = loop.time() - began
    assert set(statuses) == {200}
    [end] = (await log_ends(door.settings, [topic])).values()
    assert 1 <= end <= 1 + passed


async def test_a_door_with_as_much_in_hand_as_it_takes_is_ready(door):
    producer, topic = door.app[PRODUCER], door.settings.topic("time-events")
    some = [Record(b"f-1", b"x" * 200, [])] * QUEUE_RECORDS_MAX
    producer._connected.clear()  # nothing is sent, and nobody is told that Kafka is away
    pile = asyncio.create_task(producer.produce(topic, some, 30))
    await until(lambda: producer._queued_records == QUEUE_RECORDS_MAX)
    async with door.http.get(door.ops_url + "/readyz") as response:
        told = await response.json()
    producer._connected.set()
    assert (response.status, told["checks"]["kafka"]["ready"]) == (200, True)
    await pile


async def test_the_same_events_may_come_again_for_ever(door):
    token = await door.token()
    body = raw(event())
    for _ in range(3):
        assert (await door.post(token, body)).status == 202
    assert [record.value for record in await door.records("task-events")] == [body] * 3


async def test_many_senders_at_once_are_each_answered_for_their_own(door):
    token = await door.token()
    bodies = [raw(event(f"e-{n}")) for n in range(60)]
    replies = await asyncio.gather(*(door.post(token, body) for body in bodies))
    assert [reply.body["results"][0]["id"] for reply in replies] == [f"e-{n}" for n in range(60)]
    assert sorted(r.value for r in await door.records("task-events")) == sorted(bodies)


async def test_without_a_log_the_outcome_is_unknown_and_the_sender_is_told_to_come_again(settings):
    nowhere = {"kafka_bootstrap_servers": "127.0.0.1:1", "produce_deadline_seconds": 1.0}
    away = settings.model_copy(update=nowhere)
    async with running(away) as door:
        token = await door.token()
        started = asyncio.get_running_loop().time()
        reply = await door.post(token, raw(event()))
        assert asyncio.get_running_loop().time() - started < 2
        assert (reply.status, reply.body["code"]) == (503, "outcome_unknown")
        assert int(reply.headers["Retry-After"]) >= 1
        # What needs no log is still answered as ever.
        assert (await door.post(token, b"{")).status == 422
        async with door.http.get(door.ops_url + "/readyz") as response:
            told = await response.json()
        assert (response.status, told["checks"]["kafka"]["ready"]) == (503, False)
        assert told["checks"]["postgres"]["ready"] is True


async def test_a_deadline_that_passes_once_the_log_has_events_in_hand_tells_no_more_than_it_knows(
    settings,
):
    await ensure_topics(settings)
    async with running(settings, Limits(handler_seconds=1)) as door:
        token, producer = await door.token(), door.app[PRODUCER]
        await producer.wait_connected()
        producer._connected.clear()  # nothing is sent, and nobody is told that Kafka is away
        reply = await door.post(token, raw(event()))
        producer._connected.set()
        assert (reply.status, reply.body["code"]) == (503, "outcome_unknown")


async def test_the_ends_of_the_log_do_not_move_for_what_was_refused(door):
    token = await door.token()
    topic = door.settings.topic("task-events")
    await door.post(token, raw(event()))
    await door.post(token, raw(event(firm_id="f-2")))
    assert await log_ends(door.settings, [topic]) == {(topic, 0): 1}


SPLICES = (
    b"\x00", b"\xff", b'"', b"{", b"}", b"[", b"]", b",", b"\\", b"\\ud800", b"NaN", b"1e9", b"\n",
    b"-", b"9" * 40, b'"id":1,', b" " * 70_000, b"\xe2\x80\xa8",
)  # fmt: skip


async def test_no_body_makes_a_500(door):
    """Lawful bodies, cut and spliced at random (but always the same): each has a known answer."""
    token = await door.token()
    chance = random.Random(4)
    one = raw(event())
    lawful = [
        ("application/cloudevents+json", one),
        (BATCH, b"[" + one + b"," + one + b"]"),
        (LINES, json.dumps(event()).encode() * 2),
        ("application/json", raw(event()["data"])),
    ]
    binary = {f"ce_{name}": value for name, value in event().items() if name != "data"}
    statuses = set()
    for _ in range(400):
        media, body = chance.choice(lawful)
        for _ in range(chance.randint(1, 3)):
            start = chance.randrange(len(body) + 1)
            end = min(len(body), start + chance.choice((0, 0, 1, 5)))
            body = body[:start] + chance.choice(SPLICES) + body[end:]
        reply = await door.post(token, body, media, **(binary if media.endswith("/json") else {}))
        statuses.add(reply.status)
        assert reply.status in {202, 400, 422}, (media, body)
        if reply.status == 422 and reply.body["code"] == "none_accepted":
            assert all(result["code"] for result in reply.body["errors"])
    assert statuses == {202, 400, 422}
