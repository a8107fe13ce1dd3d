"""Bodies of the four modes come apart into the sender's bytes, or fail as a whole."""

import json

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from schemas.envelope import Unreadable, read_event
from schemas.strict_json import Refusal
from services.ingest.batches import (
    BATCH,
    BINARY,
    LINES,
    STRUCTURED,
    Unsplittable,
    guess,
    slices,
    split,
)
from services.ingest.intake import read_at_once
from tests.cpu import times_longer

EVENT = {
    "specversion": "1.0",
    "id": "a-1",
    "source": "tracker/asst-1",
    "type": "turnsheet.task.started.v1",
    "time": "2026-07-01T10:31:00+08:00",
    "data": {"firm_id": "f", "placement_id": "p", "task_id": "t"},
}
HEADERS = [(f"ce-{k}", v) for k, v in EVENT.items() if isinstance(v, str)]
DATA = b'{ "firm_id":"f",\n"placement_id":"p", "task_id":"t" }'


def code_of(media, body):
    with pytest.raises(Unsplittable) as met:
        split(media, [], body)
    return met.value.code


def test_a_structured_body_is_its_event_to_the_last_byte():
    body = b'\n {"id" : "x"} \r\n'
    assert split(STRUCTURED, [], body) == [body]


@pytest.mark.parametrize("body", [b"", b" \r\n\t"])
@pytest.mark.parametrize("media", [STRUCTURED, LINES])
def test_a_blank_body_holds_no_event(media, body):
    assert code_of(media, body) == "no_events"


def test_lines_are_told_apart_by_their_ends_and_blank_ones_pass():
    body = b' {"a":1}\r\n\n{"b": "x\\n"} \n\r\n\xff{'
    assert split(LINES, [], body) == [b' {"a":1}', b'{"b": "x\\n"} ', b"\xff{"]


LINED = [
    (b"\n" * 70_000 + b" {}\r\n\n \n{}", [b" {}", b"{}"]),
    (b" " * 70_000 + b"\n{}" + b"\n \t\r\n" * 3, [b"{}"]),
    (b"{}\n" + b" \n" * 40_000 + b"  {}\n\n\n" + b"{}", [b"{}", b"  {}", b"{}"]),
    (b"\x0b\n{}\n\x0c{}", [b"{}", b"\x0c{}"]),
]


@pytest.mark.parametrize(("body", "items"), LINED)
def test_blank_lines_are_passed_over_however_many(body, items):
    assert split(LINES, [], body) == items
    assert items == [line.rstrip(b"\r\n") for line in body.split(b"\n") if line.strip()]


ARRAYS = [
    (b"[{}]", [b"{}"]),
    (b' [ {"a": [1, 2]} ,\n"x,]" , 5,null ] ', [b'{"a": [1, 2]}', b'"x,]"', b"5", b"null"]),
    ('[{"é":"\U0001f600"},1]'.encode(), ['{"é":"\U0001f600"}'.encode(), b"1"]),
    (b'[{"a":1,"a":2},NaN,1e9]', [b'{"a":1,"a":2}', b"NaN", b"1e9"]),
    (b'[{"a":}, {"b":1}]', [b'{"a":}', b'{"b":1}']),
    (b'[{"a":1 "b]"} ,{}]', [b'{"a":1 "b]"}', b"{}"]),
    (b"[nonsense, 1]", [b"nonsense", b"1"]),
    (b'["a\nb"]', [b'"a\nb"']),
    (b"[" + b"9" * 5000 + b"]", [b"9" * 5000]),
    (b"[" + b"[" * 5000 + b"]" * 5000 + b",1]", [b"[" * 5000 + b"]" * 5000, b"1"]),
    (b"[" + b"[" * 10_000 + b"]" * 10_000 + b"]", [b"[" * 10_000 + b"]" * 10_000]),
]


@pytest.mark.parametrize(("body", "items"), ARRAYS)
def test_an_array_is_cut_at_its_elements_even_where_one_is_unsound(body, items):
    assert split(BATCH, [], body) == items


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[",
        b"[{}",
        b"[{},",
        b"[{},]",
        b"[,{}]",
        b"[{} {}]",
        b'[{}, "a""b"]',
        b'[{}, "a" x]',
        b"[{}] x",
        b"[{}][{}]",
        b'[{"a":1]}',
        b"[[{]},1]",
        b'[{"a": "x]',
        b'["x, {}]',
        b"[{}}]",
        b"[" * 100_000,
        b"[" + b"[" * 10_001 + b"]" * 10_001 + b"]",
        b"\xef\xbb\xbf[]",
        b"nonsense",
    ],
)
def test_an_array_that_is_framed_wrongly_fails_as_a_whole(body):
    assert code_of(BATCH, body) == "bad_json"


@pytest.mark.parametrize("broken", [b"x", b'{"a":}'])
def test_broken_elements_behind_a_long_one_take_no_long_time(broken):
    """A decoder's error counts the lines before its place."""
    long, short = (
        b",".join([b'["%b"' % (b"a" * size), *[broken] * 4_990]) + b"]" for size in (4_000_000, 1)
    )
    assert len(split(BATCH, [], long)) == len(split(BATCH, [], short)) == 4_991
    assert times_longer(lambda: split(BATCH, [], long), lambda: split(BATCH, [], short)) < 8


@pytest.mark.parametrize("count", [0, 1, 16_383, 16_384, 16_385, 32_768, 40_001])
def test_blanks_are_passed_over_wherever_and_however_many(count):
    blanks = (b" \t\r\n" * (count // 4 + 1))[:count]
    around = blanks.join([b"", b"[", b'{"a":1}', b",", b'{"b":2}', b"]", b""])
    assert split(BATCH, [], around) == [b'{"a":1}', b'{"b":2}']
    assert guess(around) in ([b'{"a":1}', b'{"b":2}'], None)
    assert split(BATCH, [], blanks + b"[" + blanks + b"7]") == [b"7"]


PIECES = ["{", "}", "[", "]", ",", '"', "\\", " ", "a", "1", ":", "-", "1.5", '"a"', "{}", "[{}]"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@how(max_examples=600)
def test_behind_a_broken_element_an_array_is_cut_as_it_would_be_without_it(rest):
    def cut(body):
        try:
            return split(BATCH, [], body.encode())
        except Unsplittable as met:
            return met.code

    alone = cut(f"[1,{rest}]")
    behind = cut(f"[x,{rest}]")
    assert behind == (alone if isinstance(alone, str) else [b"x", *alone[1:]])


def test_an_array_that_is_no_utf8_fails_as_a_whole():
    assert code_of(BATCH, b'["\xff"]') == "not_utf8"


@pytest.mark.parametrize("body", [b"[]", b" [ ] "])
def test_an_empty_array_holds_no_event(body):
    assert code_of(BATCH, body) == "no_events"


@pytest.mark.parametrize(("media", "form"), [(BATCH, b"[%s]"), (LINES, b"%s")])
def test_a_request_has_at_most_5000_events(media, form):
    joint = b"," if media == BATCH else b"\n"
    for count in (4_999, 5_000):
        assert len(split(media, [], form % joint.join([b"{}"] * count))) == count
    assert code_of(media, form % joint.join([b"{}"] * 5_001)) == "too_many_events"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(st.lists(VALUES, min_size=1), st.booleans(), st.sampled_from([",", " ,\n ", "\t,"]))
def test_any_array_gives_back_just_its_elements(values, ascii_only, joint):
    texts = [json.dumps(v, ensure_ascii=ascii_only).encode("utf-8", "replace") for v in values]
    body = b"[\n" + joint.encode().join(texts) + b" ]"
    assert split(BATCH, [], body) == texts


@given(st.text(alphabet='[]{},"\\ a1:', max_size=30).map(str.encode))
def test_any_body_comes_apart_or_fails_and_never_crashes(body):
    try:
        items = split(BATCH, [], body)
    except Unsplittable as met:
        items, code = [], met.code
        assert code in {"bad_json", "no_events"}
    assert all(isinstance(item, bytes) and item in body for item in items)


def test_binary_mode_builds_the_envelope_around_the_datas_own_bytes():
    [raw] = split(BINARY, [*HEADERS, ("Accept", "*/*"), ("CE-Sequence", "7")], DATA)
    assert isinstance(raw, bytes)
    assert DATA in raw
    event = read_event(raw)
    assert (event.id, event.source, event.sequence) == ("a-1", "tracker/asst-1", 7)
    assert event.time.isoformat() == EVENT["time"]
    assert event.data == read_event(json.dumps(EVENT).encode()).data


def test_headers_are_percent_decoded():
    [raw] = split(BINARY, [*HEADERS, ("ce-tool", "caf%C3%A9%20%E2%82%AC%22\\")], DATA)
    assert isinstance(raw, bytes)
    assert read_event(raw).model_extra == {"tool": 'café €"\\'}


def test_a_header_of_digits_is_a_text_but_for_the_sequence():
    told = {"ce-id": "17", "ce-sequence": "17", "ce-tool": "17"}
    [raw] = split(
        BINARY,
        [
            *((name, told.get(name, v)) for name, v in HEADERS),
            *[(name, told[name]) for name in ("ce-sequence", "ce-tool")],
        ],
        DATA,
    )
    assert isinstance(raw, bytes)
    event = read_event(raw)
    assert (event.id, event.sequence, event.model_extra) == ("17", 17, {"tool": "17"})


def test_a_quoted_header_means_what_stands_between_its_quotes():
    quoted = [(name, f'"{value}"') if name == "ce-id" else (name, value) for name, value in HEADERS]
    tool = ("ce-tool", '"a \\"b\\" %22c\\\\"')
    [raw] = split(BINARY, [*quoted, ("ce-sequence", '"7"'), tool, ("ce-x", '"half')], DATA)
    assert isinstance(raw, bytes)
    event = read_event(raw)
    assert (event.id, event.sequence) == ("a-1", 7)
    assert event.model_extra == {"tool": 'a "b" "c\\', "x": '"half'}


@pytest.mark.parametrize(
    ("header", "code", "pointer"),
    [
        (("ce-id", "b"), "duplicate_key", "/id"),
        (("ce-data", "{}"), "duplicate_key", "/data"),
        (("ce-datacontenttype", "text/xml"), "duplicate_key", "/datacontenttype"),
        (("ce-sequence", "1.5"), "invalid_field", "/sequence"),
        (("ce-sequence", "+1"), "invalid_field", "/sequence"),
        (("ce-tool", "%FF"), "lone_surrogate", "/tool"),
        (("ce-tool", "%00"), "nul", "/tool"),
        (("ce-", "x"), "extension_name", "/"),
    ],
)
def test_a_header_that_makes_no_lawful_attribute_is_refused_with_its_event(header, code, pointer):
    [raw] = split(BINARY, [*HEADERS, header], DATA)
    assert isinstance(raw, bytes)
    with pytest.raises(Unreadable) as met:
        read_event(raw)
    assert met.value.refusal[:2] == (code, pointer)


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"", "bad_json", "/data"),
        (b'{},"id":"other"', "bad_json", "/data"),
        (b'{}}, {"x":{}', "bad_json", "/data"),
        (b'{"firm_id":NaN}', "not_finite", "/data/firm_id"),
    ],
)
def test_data_that_is_no_sound_json_of_its_own_never_enters_the_envelope(body, code, pointer):
    [item] = split(BINARY, HEADERS, body)
    assert isinstance(item, Refusal)
    assert item[:2] == (code, pointer)


def test_a_slice_ends_with_its_number_of_events_or_of_bytes():
    few = [b"x"] * 251
    assert [(first, len(part)) for first, part in slices(few)] == [(0, 250), (250, 1)]
    large = [b"x" * 65_535, b"x", b"x" * 65_536, b"x", b"x"]
    assert [(first, len(part)) for first, part in slices(large)] == [(0, 2), (2, 1), (3, 2)]
    assert list(slices([])) == []


SEPARATORS = [b",", b" , ", b",\n  ", b"\r\n,\t"]


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("count", [1, 2, 3, 5_000])
def test_an_array_of_events_is_parted_by_what_stands_between_its_first_two(separator, count):
    raws = [json.dumps(EVENT | {"id": f"a-{n}"}).encode() for n in range(count)]
    assert guess(b" [\n" + separator.join(raws) + b" ] \n") == raws
    assert [one.event.id for one in read_at_once(raws, 0) or ()] == [f"a-{n}" for n in range(count)]


def test_a_guess_is_not_made_beyond_5000_events_nor_of_what_is_no_array():
    assert guess(b"[" + b",".join([b"{}"] * 5_000) + b"]") == [b"{}"] * 5_000
    assert guess(b"[" + b",".join([b"{}"] * 5_001) + b"]") is None
    for body in (b"", b"{}", b"[{}", b"{}]", b" \n", b"[{},{}]x", b"[]", b"[7]", b'["}, {"]'):
        assert guess(body) is None


WHOLE = json.dumps(EVENT, separators=(",", ":")).encode()
BITS = [
    b"{", b"}", b"[", b"]", b",", b"},{", b"} , {", b'"', b"\\", b" ", b"\n", b'"subject":"},{",',
    b'"subject":"{}},{{}",', b'"x":[{},{}],', WHOLE, WHOLE + b",", b"," + WHOLE, b'{"data":{}},',
]  # fmt: skip


@given(
    st.integers(1, 4),
    st.sampled_from(SEPARATORS),
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from(BITS), st.integers(0, 9)), max_size=3),
)
@how(max_examples=600)
def test_parts_that_are_all_events_are_those_that_a_careful_split_finds(count, separator, changes):
    body = b"[" + separator.join([WHOLE] * count) + b"]"
    for where, piece, cut in changes:
        at = int(where * len(body))
        body = body[:at] + piece + body[at + cut :]
    parts = guess(body)
    read = parts and read_at_once(parts, 0)
    if read:
        assert [one.raw for one in read] == split(BATCH, [], body)
