"""Strings of bytes at the door for events: written, sent, and judged by a second opinion.

A knock is made from its part's number and its own, so that a failing one can be made again.
"""

import asyncio
import base64
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from random import Random
from typing import Any, Literal

import jsonschema_rs
from aiokafka import ConsumerRecord

from schemas.events import TYPES
from tests.fuzz import grammar, oracle, wire
from tests.fuzz.wire import Answer, Line
from tests.fuzz.world import World

PATH = "/v1/events"
LINES_AT_ONCE = 12
PATIENCE_SECONDS = 0.25  # what is half a request waits for its rest: then it hears that none comes
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
LINES, BINARY = "application/x-ndjson", "application/json"
MODES = (STRUCTURED, BATCH, LINES, BINARY)
# What a second reader cannot know: who may say what, and what time it is at the door.
ADMISSION = {
    "type_not_allowed", "scope_missing", "not_bound", "source_not_bound", "time_ahead",
    "time_too_old",
}  # fmt: skip
Sort = Literal["sound", "header", "junk"]


@dataclass(frozen=True)
class Knock:
    """A request, and what is known of it.

    sort  `sound`: HTTP and headers are, so that each event is judged; `header`: one of `due` is the
          answer; `junk`: any documented answer, or none and a closed connection
    """

    number: int
    raw: bytes
    sort: Sort
    media: str = STRUCTURED
    body: bytes = b""
    attributes: tuple[tuple[str, str], ...] = ()
    due: frozenset[int] = frozenset()


def make(world: World, now: datetime, part: int, number: int) -> Knock:
    """Make a knock from its numbers."""
    rng = Random(f"{part}-{number}")
    media = rng.choice(MODES)
    first = grammar.make_event(rng, now, f"{part}-{number}")
    sender = _sender(rng, first["type"])
    token = ("Authorization", f"Bearer {world.tokens[sender]}")
    attributes: tuple[tuple[str, str], ...] = ()
    if media == BINARY:
        attributes, body = _binary(rng, first)
    else:
        count = {STRUCTURED: 1, BATCH: rng.randint(0, 4), LINES: rng.randint(1, 4)}[media]
        more = [grammar.make_event(rng, now, f"{part}-{number}-{n}", first["type"])
                for n in range(count - 1)]  # fmt: skip
        body = _body(rng, media, [first, *more][:count])
    headers: list[tuple[str, str | bytes]] = [token, ("Content-Type", media), *attributes]
    choice = rng.random()
    if choice < 0.80:
        return _sound(rng, number, headers, body, media, attributes)
    if choice < 0.90:
        return _odd_header(rng, number, headers, body, media)
    return _junk(rng, number, headers, body)


def _sender(rng: Random, type_name: str) -> str:
    """Whoever may send a type; at times somebody else."""
    if rng.random() < 0.05:
        return rng.choice(["tracker", "qa", "firm", "admin"])
    senders = TYPES[type_name].senders
    return next(kind for kind in ("connection", "firm", "tracker", "admin") if kind in senders)


def _binary(rng: Random, event: dict[str, Any]) -> tuple[tuple[tuple[str, str], ...], bytes]:
    data = event.pop("data")
    if rng.random() < 0.5:
        holder = grammar.break_tree(rng, {"data": data})
        data = holder.get("data", grammar.Raw(""))
    body = grammar.write(rng, data).encode("utf-8", "surrogatepass")
    if rng.random() < 0.2:
        body = grammar.break_bytes(rng, body)
    event.pop("datacontenttype", None)
    found = [(f"ce-{key}", str(value)) for key, value in event.items() if value is not None]
    attributes = [(name, value) for name, value in found if value.isascii()]
    if rng.random() < 0.3:
        at = rng.randrange(len(attributes))
        name, value = attributes[at]
        attributes[at] = rng.choice([
            (name.upper(), value), (name, ""), (name, value + "%00"), (name, "%ff"), ("ce-", "x"),
            (name, value + " x"), (name, "%E2%82%AC"), (name, "%"), ("ce-data", "{}"),
            ("ce-A_b", "x"), ("ce-datacontenttype", "text/plain"), (name, "x" * 300),
            (name, "%f0%9f%98%80"), (name, f'"{value}"'), (name, f'"\\{value}\\""'),
            (name, f'"{value}'), ("ce-long", "y" * 7_000),
        ])  # fmt: skip
    if rng.random() < 0.1:
        attributes.append(rng.choice(attributes))
    return tuple(attributes), body


def _body(rng: Random, media: str, events: Sequence[dict[str, Any]]) -> bytes:
    texts = []
    for event in events:
        broken = grammar.break_tree(rng, event) if rng.random() < 0.45 else event
        texts.append(grammar.write(rng, broken).encode("utf-8", "surrogatepass"))
    if media == LINES:
        texts = [text.replace(b"\r", b" ").replace(b"\n", b" ") for text in texts]
        body = rng.choice([b"\n", b"\r\n", b"\n\n \n"]).join(texts) + rng.choice([b"", b"\n"])
    elif media == BATCH:
        body = rng.choice([b"", b" \n"]) + b"[" + rng.choice([b",", b" , "]).join(texts) + b"]"
    else:
        body = b"".join(texts)
    return grammar.break_bytes(rng, body) if rng.random() < 0.3 else body


def _sound(
    rng: Random,
    number: int,
    headers: Sequence[tuple[str, str | bytes]],
    body: bytes,
    media: str,
    attributes: tuple[tuple[str, str], ...],
) -> Knock:
    """A request that is HTTP: its length told or in chunks, at times in gzip."""
    sent = list(headers)
    if rng.random() < 0.1:
        sent[1] = (
            "Content-Type",
            media + rng.choice(["; charset=utf-8", ";charset=UTF-8", " ;x=y"]),
        )
    packed = body
    if rng.random() < 0.1:
        packed = gzip.compress(body, 1)
        sent.append(("Content-Encoding", rng.choice(["gzip", "GZIP"])))
    if rng.random() < 0.15:
        raw = wire.request("POST", PATH, [*sent, ("Transfer-Encoding", "chunked")])
        raw += chunked(rng, packed)
    else:
        raw = wire.posted(PATH, sent, packed)
    return Knock(number, raw, "sound", media, body, attributes)


def chunked(rng: Random, body: bytes) -> bytes:
    """Write a body in chunks."""
    made = bytearray()
    while body:
        size = rng.randint(1, max(1, len(body)))
        made += b"%x\r\n%s\r\n" % (size, body[:size])
        body = body[size:]
    return bytes(made + b"0\r\n\r\n")


def _odd_header(
    rng: Random, number: int, headers: Sequence[tuple[str, str | bytes]], body: bytes, media: str
) -> Knock:
    """A request with one header that we do not take."""
    token, kind, *rest = headers
    deflated = zlib.compress(body)
    half = gzip.compress(body)[: rng.randint(0, 15)]
    choices: list[tuple[list[tuple[str, str | bytes]], bytes, set[int]]] = [
        ([token, ("Content-Type", rng.choice(OTHER_MEDIA)), *rest], body, {415}),
        ([token, *rest], body, {415}),
        ([token, ("Content-Type", f"{media}; charset={rng.choice(OTHER_CHARSETS)}"), *rest],
         body, {415}),
        ([token, kind, *rest, ("Content-Encoding", rng.choice(OTHER_CODINGS))], body, {415}),
        ([token, kind, *rest, ("Content-Encoding", "gzip")], deflated, {400}),
        ([token, kind, *rest, ("Content-Encoding", "gzip")], half, {400}),
        ([token, kind, *rest, ("Content-Encoding", "gzip")], gzip.compress(body) * 2, {400}),
        ([token, kind, *rest, ("Content-Encoding", "gzip")], _bomb(), {413}),
        ([kind, *rest], body, {401}),
        ([("Authorization", "Basic " + base64.b64encode(body[:30]).decode()), kind, *rest],
         body, {401}),
        ([token, token, kind, *rest], body, {401}),
        ([token, kind, *rest, ("Expect", "nothing")], body, {417}),
        ([token, kind], b"", {422, 415, 400}),
    ]  # fmt: skip
    sent, packed, due = rng.choice(choices)
    return Knock(number, wire.posted(PATH, sent, packed), "header", due=frozenset(due))


OTHER_MEDIA = (
    "text/plain", "application/xml", "application/cloudevents+xml", "multipart/form-data", "*/*",
    "application/cloudevents-batch+xml", "application/jsonx", b"\xff\xfe", "", "json",
    "application/cloudevents", "application/json, application/cloudevents+json",
)  # fmt: skip
OTHER_CHARSETS = ("latin-1", "utf-16", "utf-7", "none", "utf8mb4", '"utf-8 "', "ascii")
OTHER_CODINGS = ("br", "deflate", "zstd", "gzip, gzip", "compress", "x", "gzip,identity")


@cache
def _bomb() -> bytes:
    return gzip.compress(bytes(5 * 1024 * 1024), 9)


def _junk(
    rng: Random, number: int, headers: Sequence[tuple[str, str | bytes]], body: bytes
) -> Knock:
    """A request that is hardly HTTP."""
    good = wire.posted(PATH, headers, body)
    length = ("Content-Length", str(len(body)))
    chunks = wire.request("POST", PATH, [*headers, ("Transfer-Encoding", "chunked")])
    choices = [
        grammar.break_bytes(rng, good),
        grammar.break_bytes(rng, good[: good.index(b"\r\n\r\n")]) + good[good.index(b"\r\n\r\n") :],
        good[: rng.randrange(len(good))],
        rng.randbytes(rng.randint(1, 300)),
        wire.request("POST", PATH, [*headers, length, ("Transfer-Encoding", "chunked")], body),
        wire.request("POST", PATH, [*headers, length, ("Content-Length", "7")], body),
        wire.request("POST", PATH, [*headers, ("Content-Length", rng.choice(LENGTHS))], body),
        chunks + rng.choice(CHUNKS) + body + b"\r\n0\r\n\r\n",
        chunks + grammar.break_bytes(rng, chunked(rng, body)),
        wire.request("POST", PATH, [*headers, ("Transfer-Encoding", rng.choice(TRANSFERS))], body),
        wire.request(rng.choice(METHODS), PATH, [*headers, length], body),
        wire.request("POST", rng.choice(TARGETS), [*headers, length], body),
        good.replace(b"HTTP/1.1", rng.choice(VERSIONS)),
        good.replace(b"\r\n", b"\n"),
        wire.posted(PATH, [*headers, (rng.choice(NAMES), rng.choice(VALUES))], body),
    ]  # fmt: skip
    return Knock(number, rng.choice(choices), "junk")


LENGTHS = ("-1", "1e3", "0x10", "+5", "", " ", "99999999999999999999", "5 5", "5,5", "1_0")
CHUNKS = (
    b"-1\r\n",
    b"ffffffffffffffffff\r\n",
    b"zz\r\n",
    b"\r\n",
    b"5;x=y\r\n",
    b"0x5\r\n",
    b" 5\r\n",
)
TRANSFERS = ("gzip", "chunked, gzip", "identity", "xchunked", "Chunked", "chunked;q=1", "")
NAMES = ("X-Y", "x y", "", "ce-\x00")
VALUES = (b"\x00", b"a\nb", b"\x7f", b"z" * 9_000)
METHODS = ("GET", "post", "PUT", "BREW", "P\x00ST", "OPTIONS", "TRACE", "CONNECT", "HEAD")
VERSIONS = (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.1.1", b"http/1.1", b"", b"HTTP/9.9")
TARGETS = (
    "//v1/events", "/v1/events/", "/v1/%65vents", "/v1/events%00", "/v1/../v1/events", "*", "",
    "http://elsewhere/v1/events", "/v1/events?x=1", "/v1/events#x", "/v1/\xff", "/" + "a" * 9_000,
)  # fmt: skip


# Sending, and judging what was answered


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
                    assert self._was_unheard(record.value), record
        assert found == sure
        assert not +believed, believed

    def _was_unheard(self, value: bytes) -> bool:
        """Say whether a record came of a knock that was hung up on; chunks may part its bytes."""
        return any(
            value in raw or data_of(value) in raw or b"chunked" in raw.lower()
            for raw in self.unheard
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
    from urllib.parse import unquote_to_bytes

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
                    if knock.sort == "junk":
                        answer = await wire.ask_once(
                            world.settings.host,
                            world.settings.ingest_port,
                            knock.raw,
                            patience=PATIENCE_SECONDS,
                        )
                    else:
                        answer = await line.ask(knock.raw)
                    judge.hear(knock, answer)
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
