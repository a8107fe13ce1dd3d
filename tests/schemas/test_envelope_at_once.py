"""The quick way to read an event takes nothing that the close one refuses, and reads it alike."""

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import settings as how
from hypothesis import strategies as st

from schemas.envelope import (
    Unreadable,
    _hash_content,
    _read,
    _read_at_once,
    content_hash,
    read_events_at_once,
    read_fact,
)
from schemas.events import TYPES
from schemas.facts import Position
from tests.schemas.test_envelope import EVENT, raw_of
from tests.schemas.test_events import SAMPLES

COMPACT = json.dumps(EVENT, separators=(",", ":")).encode()
SAMPLED = [
    json.dumps({**EVENT, "type": f"turnsheet.{name}.v1", "data": data}).encode()
    for name, data in SAMPLES.items()
]
PIECES = [
    b'"', b":", b",", b"{", b"}", b"[", b"]", b" ", b"\n", b"\t", b"\\", b"\x00", b"\xff",
    b"\xed\xa0\x80", b"\xc3\xa9", b"1e3", b"-0", b"0.5", b"9007199254740993", b"NaN", b"null",
    b"true", b"\\u0000", b"\\ud800", b'"id":"b",', b'"id" :"b",', b'"id": "b" ,', b'"data":{},',
    b'"firm_id":"g",', b'"firm_id"\n:"g",', b'"x":1,', b'"x":9007199254740993,',
    b'"type":"turnsheet.task.started.v1",', b'":', b'" :', b'"a":":"',
]  # fmt: skip


def close(raw):
    try:
        return _read(raw)[0]
    except Unreadable:
        return None


@given(
    st.sampled_from([COMPACT, *SAMPLED]),
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from(PIECES), st.integers(0, 12)), max_size=3),
)
@example(COMPACT, [(1 / len(COMPACT), b'"id" :"b",', 0)])
@example(COMPACT, [(1 / len(COMPACT), b'"id":"b",', 0)])
@example(COMPACT, [(1 / len(COMPACT), b'"type":"turnsheet.task.started.v1",', 0)])
@how(max_examples=500)
def test_what_is_read_at_once_is_read_closely_to_the_same(raw, changes):
    for where, piece, cut in changes:
        at = int(where * len(raw))
        raw = raw[:at] + piece + raw[at + cut :]
    event = _read_at_once(raw)
    if event is not None:
        assert event == close(raw)


@given(
    st.lists(st.sampled_from([COMPACT, *SAMPLED]), min_size=1, max_size=4),
    st.lists(st.integers(0, 2000), min_size=1, max_size=3),
)
@how(max_examples=300)
def test_parts_are_read_at_once_only_where_each_is_an_event(events, cuts):
    """However lines of a body are cut: what comes out is what each of them says alone."""
    text = b",".join(events)
    places = sorted({0, *(cut % len(text) for cut in cuts), len(text)})
    parts = [text[a:b].strip(b",") for a, b in itertools.pairwise(places)]
    read = read_events_at_once(parts)
    if read is not None:
        assert read == [close(part) for part in parts]


def test_many_are_read_at_once_and_one_oddity_among_them_ends_it():
    assert read_events_at_once([COMPACT] * 300) == [close(COMPACT)] * 300
    for odd in (b"", b"{}", COMPACT[:-1], COMPACT + b"}", b"[" + COMPACT + b"]", COMPACT + COMPACT):
        assert read_events_at_once([COMPACT, odd, COMPACT]) is None
    assert read_events_at_once([COMPACT[:-1], COMPACT[-1:] + b"," + COMPACT]) is None
    assert read_events_at_once([COMPACT + b"," + COMPACT, b""]) is None


@pytest.mark.parametrize(
    "raw", [COMPACT, raw_of(), *SAMPLED], ids=lambda raw: json.loads(raw)["type"]
)
def test_every_flat_event_is_read_at_once(raw):
    assert (_read_at_once(raw) is not None) is (raw.count(b"{") == 2)


@pytest.mark.parametrize(
    "twice",
    [b'"id":"b",', b'"id" :"b",', b'"id"\t :"b",', b'"specversion":"1.0",', b'"data":{},'],
)
def test_a_key_that_comes_twice_is_never_read_at_once(twice):
    assert _read_at_once(COMPACT.replace(b'{"spec', b"{" + twice + b'"spec')) is None
    spaced = COMPACT.replace(b'"source":', b'"source" :')
    assert _read_at_once(spaced) is not None
    assert _read_at_once(spaced.replace(b'{"spec', b"{" + twice + b'"spec')) is None


@pytest.mark.parametrize(
    "raw", [COMPACT, raw_of(), *SAMPLED], ids=lambda raw: json.loads(raw)["type"]
)
def test_a_fact_has_the_hash_of_its_content_whichever_way_it_was_read(raw):
    fact = read_fact(raw, received_at=None, principal="x:y", position=Position("t", 0, 0))  # type: ignore[arg-type]  # (no matter here)
    assert fact.content_hash == content_hash(raw) == _hash_content(_read(raw)[1])
    assert fact.type in TYPES
