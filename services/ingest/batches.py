"""Bodies: from the four modes of CloudEvents over HTTP to the bytes of each event, untouched."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote

from schemas.strict_json import Refusal, Unreadable, parse

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
LINES = "application/x-ndjson"
BINARY = "application/json"
MODES = (STRUCTURED, BATCH, LINES, BINARY)
EVENTS_MAX = 5_000
SLICE_EVENTS = 250  # read between two looks at what else there is to do
SLICE_BYTES = 64 * 1024  # or so much of them: an event can be made to take long
NESTED_MAX = 10_000
ATTRIBUTE = "ce-"

_SPACE = " \t\r\n"
# So many at a time: a call over megabytes of them would keep every other thread from its turn.
_BLANKS_MAX = 16_384
_BLANKS = re.compile(f"[{_SPACE}]{{0,{_BLANKS_MAX}}}")
_BLANK_BYTES = _SPACE.encode()
_BEGIN = re.compile(rb"[ \t\r\n]{0,%d}\[[ \t\r\n]{0,%d}(?=\{)" % (_BLANKS_MAX, _BLANKS_MAX))
_BETWEEN = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*\{")
_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"|["\[\]{},]', re.DOTALL)
_CLOSING = {"[": "]", "{": "}"}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,16})")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_DECODER = json.JSONDecoder()

Item = bytes | Refusal


class Unsplittable(Exception):
    """A body that fails as a whole: a stable code, and words that hold none of the body's."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


def split(media: str, headers: Iterable[tuple[str, str]], body: bytes) -> list[Item]:
    """Return the bytes of each event of a body, in its order; all but binary mode are slices of it.

    An event that could not be built is a refusal in its place. Raises Unsplittable when the body
    itself cannot be taken apart, holds nothing, or holds more than 5,000 events.
    """
    if media == BINARY:
        return [_build(headers, body)]
    items: list[Item] = []
    for item in _SPLITTERS[media](body):
        if len(items) == EVENTS_MAX:
            raise Unsplittable("too_many_events", f"a request has at most {EVENTS_MAX} events")
        items.append(item)
    if not items:
        raise Unsplittable("no_events", "the body holds no event")
    return items


def guess(body: bytes) -> list[bytes] | None:
    """Part an array's bytes by what stands between its first two events, or say None.

    Ten times as quick as `split`, and right when every part turns out to be an event: then no text
    holds a brace, and nothing but the array holds events. Otherwise `split` has to find the truth.
    """
    begun, ended = _BEGIN.match(body), body.rstrip(_BLANK_BYTES)
    if begun is None or not ended.endswith(b"]"):
        return None
    inner = ended[begun.end() : -1].rstrip(_BLANK_BYTES)
    between = _BETWEEN.search(inner)
    if between is None:
        return [inner]
    first, *middle, last = inner.split(between[0], EVENTS_MAX)
    if len(middle) + 2 > EVENTS_MAX:
        return None
    return [first + b"}", *(b"{%b}" % part for part in middle), b"{" + last]


def slices(items: Sequence[Item]) -> Iterator[tuple[int, Sequence[Item]]]:
    """Cut a body's events into parts that are quickly read, each with the number of its first."""
    first = size = 0
    for number, item in enumerate(items, 1):
        size += len(item)
        if size >= SLICE_BYTES or number - first == SLICE_EVENTS or number == len(items):
            yield first, items[first:number]
            first, size = number, 0


def _split_structured(body: bytes) -> Iterator[bytes]:
    if body.strip():
        yield body


def _split_lines(body: bytes) -> Iterator[bytes]:
    """Yield each line that is not blank, without its end."""
    place = 0
    while place < len(body):
        end = body.find(b"\n", place) + 1 or len(body)
        line = body[place:end]
        if line.strip():
            yield line.rstrip(b"\r\n")
            place = end
        else:
            place = _after_blank_lines(body, end)


def _after_blank_lines(body: bytes, place: int) -> int:
    """Skip blank lines, many at a time: a body may be little else."""
    part = body[place : place + SLICE_BYTES]
    return place + part.rfind(b"\n", 0, len(part) - len(part.lstrip())) + 1


def _split_array(body: bytes) -> Iterator[bytes]:
    """Yield the slice of each element: what is wrong inside one is that event's own matter.

    What follows a whole value without a comma is not: taken for a part of it, it would move the
    places of all events behind it.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Unsplittable("not_utf8", "the bytes are not UTF-8") from None
    place = _after_blanks(text, 0)
    if text[place : place + 1] != "[":
        raise _broken()
    place = _after_blanks(text, place + 1)
    closed = text[place : place + 1] == "]"
    all_sound = True
    while not closed:
        end = _end_of_value(text, place) if all_sound else None
        if end is None:
            all_sound = False
            end = _end_by_brackets(text, place)
            # One that stands behind a broken one may be sound: then it ends where its value does.
            end = place + (_end_of_value(text[place:end], 0) or end - place)
        yield text[place:end].encode()
        place = _after_blanks(text, end)
        mark = text[place : place + 1]
        if mark not in {",", "]"}:
            raise _broken()
        closed = mark == "]"
        if not closed:
            place = _after_blanks(text, place + 1)
    if _after_blanks(text, place + 1) != len(text):
        raise _broken()


_SPLITTERS = {STRUCTURED: _split_structured, BATCH: _split_array, LINES: _split_lines}


def _after_blanks(text: str, place: int) -> int:
    while True:
        found = _BLANKS.match(text, place)
        assert found is not None, "no blank at all is a match too"
        if found.end() - place < _BLANKS_MAX:
            return found.end()
        place = found.end()


def _end_of_value(text: str, start: int) -> int | None:
    """Find the end of a value that a reader would take, or say None.

    That takes as long as all the text before it is: the decoder's error counts its lines.
    """
    try:
        return _DECODER.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


def _end_by_brackets(text: str, start: int) -> int:
    """Find the end of an element that no reader would take, when its brackets close soundly.

    One nested so deep that to look for its end would take long is no element.
    """
    awaited: list[str] = []
    for token in _TOKENS.finditer(text, start):
        mark = token[0]
        if mark in _CLOSING:
            awaited.append(_CLOSING[mark])
            if len(awaited) > NESTED_MAX:
                break
        elif not awaited and mark in {",", "]"}:
            end = start + len(text[start : token.start()].rstrip(_SPACE))
            if end == start:
                break
            return end
        elif mark == '"' or (mark in {"]", "}"} and (not awaited or awaited.pop() != mark)):
            break  # a text that nothing closes, or a bracket that closes another
    raise _broken()


def _broken() -> Unsplittable:
    return Unsplittable("bad_json", "the body is no JSON array")


def _build(headers: Iterable[tuple[str, str]], body: bytes) -> Item:
    """Build the envelope of binary mode around the data's bytes as they came.

    An attribute that came twice stands there twice, and is refused by whoever reads the event.
    """
    try:
        parse(body)
    except Unreadable as error:
        code, pointer, detail = error.refusal
        return Refusal(code, f"/data{pointer}", detail)
    members = [
        f"{json.dumps(name.lower()[len(ATTRIBUTE) :])}:{_json_value(name.lower(), value)}"
        for name, value in headers
        if name.lower().startswith(ATTRIBUTE)
    ]
    members.append('"datacontenttype":"application/json"')
    return b"{" + ",".join(members).encode() + b',"data":' + body + b"}"


def _json_value(name: str, value: str) -> str:
    """Write a header's value as JSON: texts, percent-decoded; only `sequence` is an integer.

    CloudEvents has a value that stands in quotes taken out of them first (RFC 9110, 5.6.4).
    """
    if quoted := _QUOTED.fullmatch(value):
        value = _ESCAPED.sub(r"\1", quoted[1])
    if name == "ce-sequence" and _INTEGER.fullmatch(value):
        return value
    return json.dumps(unquote(value, errors="surrogateescape"))
