"""Knocks sent, and judged by a second opinion: each answer by itself, the log by all of them."""

import asyncio
import base64
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes

import jsonschema_rs
from aiokafka import ConsumerRecord

from tests import wire
from tests.fuzz import oracle
from tests.fuzz.knocks import BATCH, BINARY, LINES, PATH, Knock, make
from tests.fuzz.world import World
from tests.wire import Answer, Line

LINES_AT_ONCE = 32
TRIES = 20
PATIENCE_SECONDS = 0.25  # what is half a request waits for its rest: then it hears that none comes
CHUNK = re.compile(rb"\r\n[0-9a-fA-F]+[^\r\n]*\r\n")  # the line that begins a chunk
# What a second reader cannot know: who may say what, and what time it is at the door.
ADMISSION = {
    "type_not_allowed", "scope_missing", "not_bound", "source_not_bound", "time_ahead",
    "time_too_old",
}  # fmt: skip


@dataclass
class Judge:
    """Holds answers to the service's own description, and the log to the answers."""

    document: dict[str, Any]
    accepted: Counter[tuple[str, bytes, bytes]] = field(default_factory=Counter)
    statuses: Counter[int | None] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    unheard: list[bytes] = field(default_factory=list)  # hung up on: their outcome is unknown

    def __post_init__(self) -> None:
        self.responses = self.document["paths"][PATH]["post"]["responses"]
        self.validators = {
            name: jsonschema_rs.validator_for(
                {"$ref": f"#/components/schemas/{name}", "components": self.document["components"]}
            )
            for name in ("Answer", "ProblemDocument")
        }

    def hear(self, knock: Knock, answer: Answer | None) -> None:
        """Judge one answer. Raises AssertionError."""
        self.statuses[None if answer is None else answer.status] += 1
        if answer is None:
            assert knock.sort == "junk", "no answer"
            self.unheard.append(knock.raw)
            return
        self._documented(knock, answer)
        if knock.sort == "header":
            assert answer.status in knock.due, f"{answer} instead of {set(knock.due)}"
        if knock.sort == "sound":
            self._sound(knock, answer)
        elif answer.status == 202:
            self._believe(answer)

    def _documented(self, knock: Knock, answer: Answer) -> None:
        assert answer.status < 500, answer
        media = (answer.header("content-type") or "").partition(";")[0]
        if answer.status == 202:
            assert (media, self.validators["Answer"].is_valid(answer.json)) == (BINARY, True)
            return
        if answer.status not in {404, 405} or knock.sort != "junk":  # another address, or method
            assert str(answer.status) in self.responses, answer
        if knock.sort == "junk" and b"GET /" in knock.raw[:9]:
            return
        if not answer.body:
            assert b"HEAD" in knock.raw[:9], answer
            return
        assert media == "application/problem+json", answer
        assert self.validators["ProblemDocument"].is_valid(answer.json), answer
        assert answer.json["status"] == answer.status

    def _sound(self, knock: Knock, answer: Answer) -> None:
        items = items_of(knock)
        if items is None:
            assert (answer.status, answer.json["code"]) in {(400, "bad_json"), (400, "not_utf8")}
            return
        if not items:
            assert (answer.status, answer.json["code"]) == (422, "no_events"), answer
            return
        if answer.status == 202:
            results = answer.json["results"]
        else:
            assert (answer.status, answer.json["code"]) == (422, "none_accepted"), answer
            results = answer.json["errors"]
        assert [one["index"] for one in results] == list(range(len(items)))
        for item, result in zip(items, results, strict=True):
            self._item(knock, item, result)

    def _item(self, knock: Knock, item: bytes, result: dict[str, Any]) -> None:
        code = result.get("code")
        self.codes[code or "accepted"] += 1
        event = oracle.opinion(item)
        if isinstance(event, oracle.Refused):
            assert code is not None, f"{event} was accepted: {item[:2_000]!r}"
            assert code not in ADMISSION, f"{code} of what is no event ({event}): {item[:2_000]!r}"
            return
        assert code is None or code in ADMISSION, f"{code} refused an event: {item[:2_000]!r}"
        if code is None:
            value = knock.body if knock.media == BINARY else item
            self.accepted[(*oracle.place_of(event), value)] += 1

    def _believe(self, answer: Answer) -> None:
        """Of what was hardly HTTP and was taken all the same only the answer is known."""
        for result in answer.json["results"]:
            if result["status"] == "accepted":
                self.accepted["?", b"?", result["id"].encode()] += 1

    def compare(self, records: Sequence[ConsumerRecord], prefix: str) -> None:
        """See that the log holds what was accepted, and nothing else."""
        found: Counter[tuple[str, bytes, bytes]] = Counter()
        believed = Counter({k[2]: n for k, n in self.accepted.items() if k[0] == "?"})
        sure = Counter({k: n for k, n in self.accepted.items() if k[0] != "?"})
        for record in records:
            place = record.topic.removeprefix(prefix), record.key
            assert oracle.place_of(oracle.event_of(record.value)) == place
            for value in (record.value, data_of(record.value)):
                if found[(*place, value)] < sure[(*place, value)]:
                    found[(*place, value)] += 1
                    break
            else:
                told = json.loads(record.value)["id"].encode()
                if believed[told] > 0:
                    believed[told] -= 1
                else:
                    assert came_of(self.unheard, record.value), record
        assert found == sure
        assert not +believed, believed


def came_of(unheard: Sequence[bytes], value: bytes) -> bool:
    """Say whether a record came of a knock that was hung up on; chunks may part its bytes."""
    return any(
        value in part or data_of(value) in part
        for raw in unheard
        for part in (raw, CHUNK.sub(b"", raw))
    )


def data_of(value: bytes) -> bytes:
    """The data's bytes in an envelope that ingest has built."""
    return value.partition(b'"datacontenttype":"application/json","data":')[2][:-1] or value


def items_of(knock: Knock) -> list[bytes] | None:
    """Take a body apart as its mode says; None for what cannot be."""
    if knock.media == LINES:
        return oracle.lines_of(knock.body)
    if knock.media == BATCH:
        return oracle.elements_of(knock.body)
    if knock.media == BINARY:
        return [_envelope(knock)]
    return [knock.body] if knock.body.strip() else []


def _envelope(knock: Knock) -> bytes:
    """Build what a binary request means, as plain text; what cannot be is no event either."""
    members = [b'"datacontenttype":"application/json"']
    for name, value in knock.attributes:
        value = unquoted(value.strip())  # noqa: PLW2901 (the same, read as the standard says)
        raw = unquote_to_bytes(value)
        text = raw.decode("utf-8", "surrogateescape")
        is_number = name.lower() == "ce-sequence" and value.lstrip("-").isdecimal()
        members.append(
            json.dumps(name.lower()[3:]).encode()
            + b":"
            + (value.encode() if is_number else json.dumps(text).encode())
        )
    return b"{" + b",".join(members) + b',"data":' + knock.body + b"}"


def unquoted(value: str) -> str:
    """Take a value out of its quotes, when it stands in a pair of them."""
    made, at = "", 1
    while value[:1] == '"' and at < len(value) - 1 and value[at] != '"':
        at += value[at] == "\\"
        made, at = made + value[at : at + 1], at + 1
    return made if len(value) > 1 and value[0] == '"' and value[at:] == '"' else value


def replay(part: int, number: int, raw: bytes) -> str:
    """Say how a failing knock is sent again."""
    return (
        f"knock {number} of part {part}; replay: "
        f".venv/bin/pytest 'tests/fuzz/long_bytes.py::test_the_door_stands[{part}]'\n"
        f"its bytes, in base64: {base64.b64encode(raw).decode()}"
    )


def knock_all(world: World, part: int, count: int) -> Judge:
    """Send a part's knocks over a few connections, and judge answers and log."""
    document = world.done("ingest", "GET", "/openapi/ingest.json")
    return asyncio.run(_knock_all(world, Judge(document), part, count))


async def _ask(world: World, line: Line, knock: Knock) -> Answer | None:
    """Knock, and again where a door that has its hands full says to come later.

    Bodies that unpack to much are held a few at a time: on a busy machine more may meet.
    """
    for _ in range(TRIES):
        if knock.sort == "junk":
            answer = await wire.ask_once(
                world.settings.host, world.settings.ingest_port, knock.raw,
                patience=PATIENCE_SECONDS,
            )  # fmt: skip
        else:
            answer = await line.ask(knock.raw)
        if answer is None or answer.status != 503 or b'"overloaded"' not in answer.body:
            break
        await asyncio.sleep(float(answer.header("retry-after") or 1))
    return answer


async def _knock_all(world: World, judge: Judge, part: int, count: int) -> Judge:
    since = await world.ends()
    now = datetime.now(UTC)
    numbers = iter(range(count))

    async def work() -> None:
        before = b""
        async with Line(world.settings.host, world.settings.ingest_port) as line:
            for number in numbers:
                knock = make(world, now, part, number)
                try:
                    judge.hear(knock, await _ask(world, line, knock))
                except (AssertionError, TimeoutError) as error:
                    error.add_note(replay(part, number, knock.raw))
                    error.add_note(f"before it on this connection: {before[:2_000]!r}")
                    raise
                before = b"" if knock.sort == "junk" else knock.raw

    async with asyncio.TaskGroup() as group:
        for _ in range(LINES_AT_ONCE):
            group.create_task(work())
    judge.compare(await world.records(since), world.settings.topic_prefix)
    world.check_alive()
    return judge
