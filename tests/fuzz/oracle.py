"""A second opinion: what an event is, by another reader and the published JSON Schema alone."""

import json
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import available_timezones

import jsonschema_rs

from schemas.countries import COUNTRIES
from tests.fuzz.grammar import BRANCHES, SCHEMA

VALID = jsonschema_rs.validator_for(SCHEMA, validate_formats=False)
ZONES = available_timezones()
EVENT_BYTES, DEPTH, BRACKETS, NESTED = 65_536, 16, 1_000, 10_000
ENTRY_DAYS = 400
INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
PRINTABLE = {"id", "subject", "partitionkey", "traceparent", "target_id"}
KNOWN = set(SCHEMA["properties"])


class Refused(Exception):
    """Why a text is no event."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Refused("a key twice")
    return made


def _whole(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > 2**53:
        raise Refused("a large integer")
    return int(text)


def _never(text: str) -> Any:
    raise Refused(f"the number {text[:20]}")


def read(raw: bytes) -> Any:
    """Read one strict JSON text. Raises Refused."""
    try:
        text = raw.decode("utf-8")
        found = json.loads(text, object_pairs_hook=_object, parse_int=_whole, parse_float=_never,
                           parse_constant=_never)  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise Refused(type(error).__name__) from None
    if "\x00" in text:
        raise Refused("NUL")
    for part, depth in _parts(found, 1):
        if depth > DEPTH and isinstance(part, dict | list):
            raise Refused("deep")
        if isinstance(part, str) and re.search("[\x00\ud800-\udfff]", part):
            raise Refused("no text")
    return found


def _parts(value: Any, depth: int) -> Iterator[tuple[Any, int]]:
    yield value, depth
    if isinstance(value, dict):
        for key, one in value.items():
            yield key, depth
            yield from _parts(one, depth + 1)
    elif isinstance(value, list):
        for one in value:
            yield from _parts(one, depth + 1)


def event_of(raw: bytes) -> dict[str, Any]:
    """Read an event, or raise Refused: by a strict reader, the schema, and the README's words."""
    if len(raw) > EVENT_BYTES:
        raise Refused("large")
    if raw.count(b"{") + raw.count(b"[") > BRACKETS:
        raise Refused("many values")
    found = read(raw)
    if not VALID.is_valid(found):
        raise Refused("schema")
    assert isinstance(found, dict)
    for name in set(found) - KNOWN:
        if re.fullmatch("[a-z0-9]{1,64}", name) is None:
            raise Refused("extension")
    _check(found, SCHEMA, "")
    model, data = BRANCHES[found["type"]], found["data"]
    _check(data, SCHEMA["$defs"][model], "")
    _check_whole(model, data)
    return found


def opinion(raw: bytes) -> dict[str, Any] | Refused:
    """Say what an event is, or why it is none."""
    try:
        return event_of(raw)
    except Refused as refused:
        return refused


def _check(value: Any, schema: dict[str, Any], name: str) -> None:
    """What a schema does not say: real dates and instants, zones, countries, printable texts."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    if value is None:
        return
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    if isinstance(value, dict):
        for key, one in value.items():
            if key in schema.get("properties", {}) and key != "data":
                _check(one, schema["properties"][key], key)
    elif isinstance(value, list):
        for one in value:
            _check(one, schema["items"], name)
    elif isinstance(value, str):
        _check_text(value, schema, name)


def _check_text(text: str, schema: dict[str, Any], name: str) -> None:
    if schema.get("format") == "date-time":
        _check_years(INSTANT.fullmatch(text), lambda: datetime.fromisoformat(text.upper()).year)
    if schema.get("format") == "date":
        _check_years(DAY.fullmatch(text), lambda: date.fromisoformat(text).year)
    if name in PRINTABLE and not text.isprintable():
        raise Refused("not printable")
    if name in {"zone", "timezone"} and text not in ZONES:
        raise Refused("zone")
    if name in {"country", "home_country"} and text not in COUNTRIES:
        raise Refused("country")


def _check_years(fits: object, year: Any) -> None:
    try:
        if not fits or not 1970 <= year() <= 2199:
            raise Refused("years")
    except ValueError:
        raise Refused("no date") from None


def _check_whole(model: str, data: dict[str, Any]) -> None:
    def given(*names: str) -> tuple[bool, ...]:
        return tuple(data.get(name) is not None for name in names)

    if model in {"TimeRecorded", "TimeAmended"}:
        shape = given("started_at", "ended_at", "work_date", "duration_seconds")
        if shape not in {(True, True, False, False), (False, False, True, True)}:
            raise Refused("shape")
        if shape[0]:
            start, end = (datetime.fromisoformat(data[name].upper())
                          for name in ("started_at", "ended_at"))  # fmt: skip
            if end - start > timedelta(days=ENTRY_DAYS):
                raise Refused("long")
    if model == "EventRetracted" and sum(given("task_id", "escalation_id", "entry_id")) != 1:
        raise Refused("target")
    if model == "PlacementAbsenceRecorded" and data["until_date"] <= data["from_date"]:
        raise Refused("order")


def place_of(event: dict[str, Any]) -> tuple[str, bytes]:
    """Say on which topic an event belongs, and under which key."""
    data, noun = event["data"], event["type"].split(".")[1]
    key = data.get("firm_id", "-").encode()
    if noun in {"firm", "assistant", "placement"}:
        return "directory", key
    if noun in {"time", "timer"} or (noun == "event" and data.get("entry_id")):
        return "time-events", key
    return "task-events", key


# Taking a body apart


def lines_of(body: bytes) -> list[bytes]:
    """The events of an NDJSON body."""
    return [line.rstrip(b"\r\n") for line in body.split(b"\n") if line.strip()]


def elements_of(body: bytes) -> list[bytes] | None:
    """The elements of an array by its brackets and quotes; None for what is no array.

    Two values that no comma parts are no element: their sender meant two.
    """
    try:
        text = body.decode("utf-8").strip(" \t\r\n")
    except UnicodeDecodeError:
        return None
    marks = _marks(text)
    if marks is None:
        return None
    parts = [text[left + 1 : right].strip(" \t\r\n") for left, right in pairwise(marks)]
    if parts == [""]:
        return []
    return [part.encode() for part in parts] if all(map(_is_one, parts)) else None


def _is_one(part: str) -> bool:
    """Say whether a part is one value, whole or broken, and not a whole one with more after it."""
    try:
        return bool(part) and json.JSONDecoder().raw_decode(part)[1] == len(part)
    except (ValueError, RecursionError):
        return True


def _marks(text: str) -> list[int] | None:
    """Where an array begins, is parted by commas, and ends; None when that is not all there is."""
    marks, awaited, quoted, escaped = [0], "", False, False
    for at, char in enumerate(text):
        if at and not awaited:
            return None
        if quoted:
            quoted, escaped = escaped or char != '"', not escaped and char == "\\"
        elif char == '"':
            quoted = True
        elif char in "[{":
            awaited += "]" if char == "[" else "}"
            if len(awaited) > NESTED + 1:  # the array's own beside an element's
                return None
        elif char in "]}":
            if awaited[-1:] != char:
                return None
            awaited = awaited[:-1]
        if not quoted and (not awaited or (char == "," and len(awaited) == 1)):
            marks.append(at)
    return marks if text[:1] == "[" and not awaited else None
