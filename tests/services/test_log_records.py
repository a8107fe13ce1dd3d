"""A record of the log is a fact, or parked with the reason: nothing else can come of it."""

import json
from datetime import UTC, datetime

import pytest
from aiokafka.structs import ConsumerRecord

from schemas.events import EntityKey
from schemas.facts import Position
from services.log_records import Parked, fact_row, parked_row, read_record
from tests.log import FIRM, START, entry, record

GOOD = record(entry("a", 30))
HEADERS = dict(GOOD.headers)


def on_the_log(value=GOOD.value, key=GOOD.key, topic="x.time-events", **headers):
    heads = {**HEADERS, **{name.replace("_type", "-type"): v for name, v in headers.items()}}
    kept = [(name, v) for name, v in heads.items() if v != b"absent"]
    return ConsumerRecord(topic, 2, 7, 0, 0, key, value, None, 0, 0, kept)


def test_a_good_record_is_a_fact_with_its_place_and_its_stamps():
    fact = read_record(on_the_log(received_at=b"2026-07-01T22:30:00.5+08:00"))
    assert not isinstance(fact, Parked)
    assert fact.entity == EntityKey("firm-1", "entry", "a")
    assert fact.position == Position("x.time-events", 2, 7)
    assert fact.received_at == datetime(2026, 7, 1, 14, 30, 0, 500_000, UTC)
    assert fact.principal == "tracker:as-1"
    assert fact_row(fact, GOOD.value)[:7] == (
        "firm-1", "x.time-events", 2, 7, "entry", "a", "pl-1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "code", "pointer"),
    [
        (on_the_log(value=None), "no_value", ""),
        (on_the_log(value=b""), "bad_json", ""),
        (on_the_log(value=b"\xff"), "not_utf8", ""),
        (on_the_log(value=b"[" * 100_000), "event_too_large", ""),
        (on_the_log(value=b"[" * 1_000), "too_deep", ""),
        (on_the_log(value=b"{}"), "missing_field", "/type"),
        (on_the_log(value=GOOD.value.replace(b"time.rec", b"time.unrec")), "unknown_type", "/type"),
        (on_the_log(content_type=b"text/plain"), "header_content_type", ""),
        (on_the_log(content_type=b"absent"), "header_content_type", ""),
        (on_the_log(content_type=None), "header_content_type", ""),
        (on_the_log(principal=b"absent"), "header_principal", ""),
        (on_the_log(principal=None), "header_principal", ""),
        (on_the_log(principal=b"tracker:a\x00b"), "header_principal", ""),
        (on_the_log(principal=b"tracker:\xff"), "header_principal", ""),
        (on_the_log(principal=b"nobody"), "header_principal", ""),
        (on_the_log(received_at=b"absent"), "header_received_at", ""),
        (on_the_log(received_at=b"yesterday"), "header_received_at", ""),
        (on_the_log(received_at=b"2026-07-01T00:00:00"), "header_received_at", ""),
        (on_the_log(received_at=b"0001-01-01T00:00:00+14:00"), "header_received_at", ""),
        (on_the_log(key=None), "wrong_key", "/data/firm_id"),
        (on_the_log(key=b"firm-2"), "wrong_key", "/data/firm_id"),
        (on_the_log(topic="x.directory"), "wrong_topic", "/type"),
        (on_the_log(value=FIRM), "wrong_topic", "/type"),
    ],
)
def test_what_cannot_be_read_is_parked_with_its_code(found, code, pointer):
    parked = read_record(found)
    assert isinstance(parked, Parked)
    assert (parked.code, parked.pointer) == (code, pointer)


def test_an_unforeseen_exception_costs_its_record_only(monkeypatch):
    def stumble(*_, **__):
        raise ArithmeticError("words of a client")

    monkeypatch.setattr("services.log_records.read_fact", stumble)
    parked = read_record(on_the_log())
    assert isinstance(parked, Parked)
    assert parked.code == "unforeseen"
    assert parked.pointer.startswith("ArithmeticError at test_log_records.py:")
    assert "client" not in parked.pointer


def test_a_parked_record_loses_nothing():
    odd = on_the_log(value=b"\x00", key=None, principal=b"\x00\xff", traceparent=None)
    row = parked_row(Parked(odd, "bad_json", "/x"))
    assert row[:7] == ("x.time-events", 2, 7, "bad_json", "/x", None, b"\x00")
    headers = [(n, None if v is None else v.encode("latin-1")) for n, v in json.loads(row[7])]
    assert headers == list(odd.headers)
    assert START.isoformat() in row[7]
