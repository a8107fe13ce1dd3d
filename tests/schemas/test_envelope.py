"""The envelope: what an event must be, what is kept of it, and what its content is."""

import json
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import pytest
import rfc8785

from schemas.envelope import Unreadable, content_hash, read_event, read_fact
from schemas.events import TYPES, EntityKey
from schemas.facts import Position

ENTRY = {
    "firm_id": "firm-1",
    "placement_id": "pl-1",
    "entry_id": "e-1",
    "started_at": "2026-07-01T09:00:00+08:00",
    "ended_at": "2026-07-01T10:30:00+08:00",
    "task_type": "intake",
    "kind": "work",
    "billable": True,
}
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "a-1",
    "source": "tracker/asst-1/laptop",
    "type": "turnsheet.time.recorded.v1",
    "time": "2026-07-01T10:31:00+08:00",
    "data": ENTRY,
}


def raw_of(changes=None, data=None):
    event = {**EVENT, **(changes or {})}
    if data is not None:
        event["data"] = {**ENTRY, **data}
    return json.dumps({key: value for key, value in event.items() if value is not ...}).encode()


def refusal_of(raw):
    with pytest.raises(Unreadable) as met:
        read_event(raw)
    return met.value.refusal


def test_an_event_is_read_with_its_offset_and_its_unknown_extensions():
    event = read_event(
        raw_of({"subject": "e-1", "sequence": 7, "recordedtime": "2026-07-01T03:00:00Z"})[:-1]
        + b', "tool": "x", "beta": true, "build": 12}'
    )
    assert event.time == datetime(2026, 7, 1, 10, 31, tzinfo=timezone(timedelta(hours=8)))
    assert event.time.utcoffset() == timedelta(hours=8)
    assert event.recordedtime == datetime(2026, 7, 1, 3, tzinfo=UTC)
    assert (event.subject, event.sequence, event.datacontenttype) == ("e-1", 7, "application/json")
    assert event.model_extra == {"tool": "x", "beta": True, "build": 12}
    assert isinstance(event.data, TYPES[EVENT["type"]].data)


REFUSED = [
    ({"specversion": "0.3"}, None, "invalid_field", "/specversion"),
    ({"specversion": ...}, None, "missing_field", "/specversion"),
    ({"id": ...}, None, "missing_field", "/id"),
    ({"id": 7}, None, "invalid_field", "/id"),
    ({"id": "a\u0007b"}, None, "not_printable", "/id"),
    ({"source": ...}, None, "missing_field", "/source"),
    ({"source": "a b"}, None, "invalid_field", "/source"),
    ({"source": "s" * 257}, None, "invalid_field", "/source"),
    ({"type": ...}, None, "missing_field", "/type"),
    ({"type": 4}, None, "unknown_type", "/type"),
    ({"type": "turnsheet.time.recorded.v2"}, None, "unknown_type", "/type"),
    ({"time": ...}, None, "missing_field", "/time"),
    ({"time": "2026-07-01T10:31:00"}, None, "time_format", "/time"),
    ({"time": "2026-02-30T10:31:00Z"}, None, "time_format", "/time"),
    ({"time": "9999-12-31T23:59:59-08:00"}, None, "year_range", "/time"),
    ({"subject": ""}, None, "invalid_field", "/subject"),
    ({"subject": "s" * 257}, None, "invalid_field", "/subject"),
    ({"datacontenttype": "text/xml"}, None, "invalid_field", "/datacontenttype"),
    ({"sequence": "7"}, None, "invalid_field", "/sequence"),
    ({"sequence": True}, None, "invalid_field", "/sequence"),
    ({"recordedtime": "yesterday"}, None, "time_format", "/recordedtime"),
    ({"tool": ["x"]}, None, "invalid_field", "/tool"),
    ({"Tool": "x"}, None, "extension_name", "/Tool"),
    ({"data_base64": "e30="}, None, "extension_name", "/data_base64"),
    ({"t" * 65: "x"}, None, "extension_name", "/" + "t" * 65),
    ({"data": ...}, None, "missing_field", "/data"),
    ({"data": None}, None, "invalid_field", "/data"),
    ({"data": "{}"}, None, "invalid_field", "/data"),
    (None, {"description": "call with the clerk"}, "unknown_field", "/data/description"),
    (None, {"a/b~c": 1}, "unknown_field", "/data/a~1b~0c"),
    (None, {"call with the clerk": 1}, "unknown_field", "/data"),
    (None, {"clerk@court.example": 1}, "unknown_field", "/data"),
    (None, {"x" * 71: 1}, "unknown_field", "/data"),
    (None, {"firm_id": "a/b"}, "invalid_field", "/data/firm_id"),
    (None, {"firm_id": ""}, "invalid_field", "/data/firm_id"),
    (None, {"firm_id": "f" * 129}, "invalid_field", "/data/firm_id"),
    (None, {"firm_id": "firm-1\n"}, "invalid_field", "/data/firm_id"),
    (None, {"billable": "yes"}, "invalid_field", "/data/billable"),
    (None, {"billable": 1}, "invalid_field", "/data/billable"),
    (None, {"task_type": "legal_advice"}, "invalid_field", "/data/task_type"),
    (None, {"started_at": "2026-07-01"}, "time_format", "/data/started_at"),
    (None, {"work_date": "2026-07-01"}, "entry_shape", "/data"),
    (None, {"duration_seconds": 1.5}, "float_not_allowed", "/data/duration_seconds"),
]


@pytest.mark.parametrize(("changes", "data", "code", "pointer"), REFUSED)
def test_a_wrong_field_is_refused_by_code_and_place(changes, data, code, pointer):
    refusal = refusal_of(raw_of(changes, data))
    assert (refusal.code, refusal.pointer) == (code, pointer)


@pytest.mark.parametrize(("changes", "data", "code", "pointer"), REFUSED)
def test_a_refusal_never_repeats_a_value(changes, data, code, pointer):
    canary = "Canary-v-Smith"
    changed = {k: canary if isinstance(v, str) else v for k, v in (changes or {}).items()}
    inside = {k: canary if isinstance(v, str) else v for k, v in (data or {}).items()}
    try:
        read_event(raw_of(changed, inside or None))
    except Unreadable as met:
        assert canary not in str(met) + repr(met.refusal)  # noqa: PT017 (a lawful one passes)


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"x"', b"1"])
def test_what_is_no_object_is_no_event(raw):
    assert refusal_of(raw)[:2] == ("not_an_object", "")


@pytest.mark.parametrize(
    ("raw", "code", "pointer"),
    [
        (raw_of()[:-1], "bad_json", ""),
        (raw_of()[:-1] + b', "id": "b"}', "duplicate_key", "/id"),
        (raw_of().replace(b"true", b"NaN"), "not_finite", "/data/billable"),
        (raw_of().replace(b"firm-1", b"\\ud800"), "lone_surrogate", "/data/firm_id"),
        (raw_of().replace(b"firm-1", b"\\u0000"), "nul", "/data/firm_id"),
        (raw_of().replace(b"firm-1", b"\xff"), "not_utf8", ""),
        (raw_of({"deep": 0}).replace(b"0}", b"[" * 16 + b"]" * 16 + b"}"), "too_deep", ""),
    ],
)
def test_strictness_comes_before_the_model(raw, code, pointer):
    assert refusal_of(raw)[:2] == (code, pointer)


@pytest.mark.parametrize("length", [1, 127, 128])
def test_an_id_has_up_to_128_characters(length):
    assert read_event(raw_of({"id": "i" * length})).id == "i" * length


@pytest.mark.parametrize("length", [0, 129])
def test_an_id_out_of_its_length_is_refused(length):
    assert refusal_of(raw_of({"id": "i" * length}))[:2] == ("invalid_field", "/id")


def padded(size):
    """The event with an extension that brings it to `size` bytes."""
    short = raw_of({"pad": ""})
    return short.replace(b'"pad": ""', b'"pad": "' + b"x" * (size - len(short)) + b'"')


def test_an_event_has_at_most_64_kib():
    for size in (65_535, 65_536):
        raw = padded(size)
        assert (len(raw), read_event(raw).id) == (size, "a-1")
    assert refusal_of(padded(65_537))[:2] == ("event_too_large", "")


def test_an_event_has_at_most_a_thousand_objects_and_lists_counted_in_its_texts_too():
    with_braces = raw_of({"pad": "@"}).replace(b"@", b"{[" * 499)  # it has two objects already
    assert read_event(with_braces).id == "a-1"
    one_more = raw_of({"pad": "@"}).replace(b"@", b"{[" * 499 + b"[")
    assert refusal_of(one_more)[:2] == ("too_many_values", "")


def test_sequence_is_exact_up_to_two_to_the_53rd():
    for sequence in (-(2**53), 2**53 - 1, 2**53):
        assert read_event(raw_of({"sequence": sequence})).sequence == sequence
    assert refusal_of(raw_of({"sequence": 2**53 + 1}))[:2] == ("number_range", "/sequence")


def test_the_content_is_type_time_subject_sequence_and_data_in_canonical_form():
    raw = raw_of({"subject": "e-1", "sequence": 2})
    content = {k: v for k, v in json.loads(raw).items() if k in ("type", "time", "data")}
    content |= {"subject": "e-1", "sequence": 2}
    assert content_hash(raw) == sha256(rfc8785.dumps(content)).digest()


def test_spaces_order_of_keys_and_other_extensions_do_not_change_the_content():
    turned = {"tool": "y", **dict(reversed(EVENT.items())), "recordedtime": "2026-07-01T03:00:00Z"}
    turned["data"] = dict(reversed(ENTRY.items()))
    assert content_hash(json.dumps(turned, indent=3).encode()) == content_hash(raw_of())


def test_a_null_attribute_is_an_absent_one():
    assert read_event(raw_of({"subject": None, "sequence": None})).subject is None
    assert content_hash(raw_of({"subject": None})) == content_hash(raw_of())


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({"time": "2026-07-01T02:31:00Z"}, None),  # the same instant in other words
        ({"subject": "x"}, None),
        ({"sequence": 0}, None),
        (None, {"billable": False}),
        (None, {"task_id": None}),
    ],
)
def test_any_other_word_is_another_content(changes, data):
    assert content_hash(raw_of(changes, data)) != content_hash(raw_of())


def test_a_fact_carries_the_event_its_place_and_who_brought_it():
    received_at = datetime(2026, 7, 1, 3, tzinfo=UTC)
    position = Position("time-events", 2, 41)
    raw = raw_of({"sequence": 3})
    fact = read_fact(raw, received_at=received_at, principal="tracker:asst-1", position=position)
    assert fact.entity == EntityKey("firm-1", "entry", "e-1")
    assert (fact.source, fact.id, fact.type) == (EVENT["source"], "a-1", EVENT["type"])
    assert (fact.received_at, fact.principal, fact.position) == (
        received_at,
        "tracker:asst-1",
        position,
    )
    assert (fact.sequence, fact.content_hash) == (3, content_hash(raw))
    assert fact.data == read_event(raw).data


def test_an_unreadable_record_gives_no_fact():
    with pytest.raises(Unreadable):
        read_fact(
            b"{}",
            received_at=datetime(2026, 7, 1, tzinfo=UTC),
            principal="tracker:x",
            position=Position("time-events", 0, 0),
        )
