"""Strings of bytes for the door of events: sound ones, broken ones, and what is hardly HTTP.

A knock is made from its part's number and its own, so that a failing one can be made again.
"""

import base64
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from random import Random
from typing import Any, Literal

from schemas.events import TYPES
from tests import wire
from tests.fuzz import grammar
from tests.fuzz.world import World

PATH = "/v1/events"
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
LINES, BINARY = "application/x-ndjson", "application/json"
MODES = (STRUCTURED, BATCH, LINES, BINARY)
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
