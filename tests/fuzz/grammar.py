"""Events of every type made from their JSON Schema, and ways to break them at a random place."""

import json
import string
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "schemas/json/event.json").read_text(encoding="utf-8")
)
BRANCHES: dict[str, str] = {
    one["properties"]["type"]["const"]: one["properties"]["data"]["$ref"].rpartition("/")[2]
    for one in SCHEMA["oneOf"]
}
FIXED = {
    "firm_id": "firm-1",
    "placement_id": "pl-1",
    "timezone": "America/New_York",
    "zone": "Asia/Manila",
    "country": "PH",
    "home_country": "MX",
    "currency": "USD",
    "start": "09:00",
}
ONE_OF = {"EventRetracted": ("task_id", "escalation_id", "entry_id")}
INTERVAL, DURATION = ("started_at", "ended_at"), ("work_date", "duration_seconds")


def make_event(rng: Random, now: datetime, event_id: str, name: str | None = None) -> Any:
    """Make an event that breaks no rule, of a given or any type."""
    name = name or rng.choice(list(BRANCHES))
    made = {
        "specversion": "1.0",
        "id": event_id,
        "source": rng.choice(["tracker/as-1", "tracker/as-1/phone"]),
        "type": name,
        "time": (now - timedelta(seconds=rng.randint(1, 10**6))).isoformat(),
        "data": _data(rng, now, BRANCHES[name]),
    }
    optional = {
        "subject": "s/1",
        "datacontenttype": "application/json",
        "sequence": rng.randint(-(2**53), 2**53),
        "recordedtime": now.isoformat(),
        "partitionkey": "k",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tool": rng.choice(["toggl", 7, True, None, "", "naïve 日本"]),
        "subject1": None,
    }
    return made | {key: value for key, value in optional.items() if rng.random() < 0.15}


def _data(rng: Random, now: datetime, model: str) -> dict[str, Any]:
    made: dict[str, Any] = _value(rng, now, SCHEMA["$defs"][model], "data")
    if choice := ONE_OF.get(model):
        for key in choice:
            made.pop(key, None)
        made[rng.choice(choice)] = _id(rng)
    if model in {"TimeRecorded", "TimeAmended"}:
        keep, drop = (INTERVAL, DURATION) if rng.random() < 0.5 else (DURATION, INTERVAL)
        for key in drop:
            made.pop(key, None)
        for key in keep:
            made[key] = _plain(rng, now, SCHEMA["$defs"][model]["properties"][key], key)
    if model == "PlacementAbsenceRecorded":
        made["from_date"], made["until_date"] = "2026-03-01", "2026-03-09"
    return made


def _value(rng: Random, now: datetime, schema: dict[str, Any], name: str) -> Any:
    if rng.random() < 0.1 and {"type": "null"} in schema.get("anyOf", ()):
        return None
    return _plain(rng, now, schema, name)


def _plain(rng: Random, now: datetime, schema: dict[str, Any], name: str) -> Any:
    if "$ref" in schema:
        return _value(rng, now, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], name)
    if "anyOf" in schema:
        return _plain(rng, now, schema["anyOf"][0], name)
    if name in FIXED:
        return FIXED[name]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    return _of_type(rng, now, schema, name)


def _of_type(rng: Random, now: datetime, schema: dict[str, Any], name: str) -> Any:
    match schema.get("type"):
        case "boolean":
            return rng.random() < 0.5
        case "integer":
            return rng.randint(schema.get("minimum", 0), min(schema.get("maximum", 99), 10_000))
        case "array":
            count = rng.randint(schema.get("minItems", 0), 2)
            return [_value(rng, now, schema["items"], name) for _ in range(count)]
        case "object":
            required = set(schema.get("required", ()))
            return {
                key: _value(rng, now, one, key)
                for key, one in schema["properties"].items()
                if key in required or rng.random() < 0.5
            }
    if schema.get("format") == "date-time":
        return (now - timedelta(seconds=rng.randint(0, 10**7))).isoformat()
    if schema.get("format") == "date":
        return (now - timedelta(days=rng.randint(0, 300))).date().isoformat()
    return "a_code" if name in {"reason", "state"} else _id(rng)


def _id(rng: Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase + string.digits + "._:-", k=9))


# Breaking a tree: what another value, another key or a missing one does

NASTY: tuple[str, ...] = (
    "null", "true", "[]", "{}", '""', "0", "-0", "1.0", "1e3", "1E400", "NaN", "Infinity",
    "-Infinity", str(2**53), str(2**53 + 1), str(-(2**53) - 1), "9" * 400, "-" + "9" * 5000,
    '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"a\\u0301"', '"\\u202e"',
    '"\u2028"', '"' + "x" * 300 + '"', '"' + "y" * 70_000 + '"', '"1969-12-31"', '"2026-02-30"',
    '"2026-01-01T00:00:00"', '"2026-01-01T24:00:00Z"', '"2026-01-01T00:00:60Z"',
    '"2026-01-01t00:00:00z"', '"2026-01-01T00:00:00+24:00"', '"2026-01-01T00:00:00-23:59"',
    '"2026-01-01 00:00:00Z"', '"2026-01-01T00:00:00.1234567890Z"', '"0001-01-01T00:00:00Z"',
    '"9999-12-31T23:59:59Z"', '"2200-01-01T00:00:00Z"', '"Mars/Olympus"', '"XX"', '"usd"',
    '{"a": {"b": []}}', "[" * 20 + "]" * 20, "[" * 14 + "]" * 14, '{"a":1,"a":2}', "01", "+1",
    "1_000", "0x10", "'a'", "nul", '"\t"', '"\\x"', "\ufeff1", "//c\n1", "[1,]", '{"a":1,}', "",
)  # fmt: skip


class Raw(str):
    """A text that stands in JSON as it is."""

    __slots__ = ()


def write(rng: Random, value: Any) -> str:
    """Write a tree as JSON, in one of the many ways that mean the same."""
    if isinstance(value, Raw):
        return str(value)

    def blank() -> str:
        return rng.choice(["", "", "", " ", "\n", "\t \r\n"])

    if isinstance(value, dict):
        members = [f"{write(rng, key)}{blank()}:{blank()}{write(rng, one)}" for key, one in
                   value.items()]  # fmt: skip
        return "{" + blank() + f"{blank()},{blank()}".join(members) + blank() + "}"
    if isinstance(value, list):
        return "[" + f"{blank()},{blank()}".join(write(rng, one) for one in value) + "]"
    if isinstance(value, str) and rng.random() < 0.1:
        return '"' + "".join(
            f"\\u{ord(c):04x}" if ord(c) < 0x10000 and rng.random() < 0.4 else json.dumps(c)[1:-1]
            for c in value
        ) + '"'  # fmt: skip
    return json.dumps(value, ensure_ascii=rng.random() < 0.5)


def break_tree(rng: Random, event: dict[str, Any]) -> dict[str, Any]:
    """Change one place of an event: another value, another key, one too many or one too few."""
    places: list[tuple[Any, Any]] = list(_places(event))
    holder, key = rng.choice(places)
    choice = rng.random()
    if choice < 0.6:
        holder[key] = Raw(rng.choice(NASTY))
    elif choice < 0.75:
        del holder[key]
    elif isinstance(holder, dict):
        strange = rng.choice(
            ["strange", "", "ce-x", "Type", "ID", "a" * 65, "\u0000", "naïve", "x/y"]
        )
        value = holder.pop(key) if choice < 0.85 else rng.choice([1, "x", None, {"a": 1}])
        holder[strange] = value
        if choice > 0.93:
            holder[Raw(json.dumps(key) + " ")] = Raw(rng.choice(["1", json.dumps(holder.get(key))]))
    return event


def _places(value: Any) -> Any:
    if isinstance(value, dict):
        for key in value:
            yield value, key
            yield from _places(value[key])
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield value, index
            yield from _places(one)


# Breaking bytes: what a bad line, a bad disk or a bad will does

JUNK = (
    b"\x00", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xf4\x90\x80\x80", b"\n",
    b"\r\n\r\n", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"e9", b".5", b"\\u0000",
    b"\\ud800", b"NaN", b"\x7f", b"\x1b[31m", b"0\r\n\r\n", b" " * 5000, b"\xe2\x80\xa8",
)  # fmt: skip


def break_bytes(rng: Random, raw: bytes) -> bytes:
    """Change some bytes of a text."""
    made = bytearray(raw)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = rng.randrange(len(made) + 1)
        to = min(len(made), at + rng.randrange(1, 40))
        match rng.randrange(8):
            case 0 if made:
                made[at % len(made)] ^= 1 << rng.randrange(8)
            case 1:
                del made[at:]
            case 2:
                made[at:at] = made[at:to]
            case 3:
                del made[at:to]
            case 4:
                made[at:at] = rng.choice(JUNK)
            case 5:
                made[at:to] = rng.randbytes(to - at)
            case 6:
                made[at:at] = rng.choice([b"[", b'{"a":', b'[{"":']) * rng.choice([3, 17, 3000])
            case _:
                other = rng.randrange(len(made) + 1)
                made[at:to], made[other:other] = made[other : other + (to - at)], made[at:to]
    return bytes(made)
