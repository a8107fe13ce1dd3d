"""Strict JSON: one refusal a text, with its place; every limit at -1, 0 and +1."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.strict_json import CODES, Unreadable, parse


def refusal_of(raw: bytes) -> tuple[str, str]:
    with pytest.raises(Unreadable) as met:
        parse(raw)
    return met.value.refusal.code, met.value.refusal.pointer


REFUSED = [
    (b"", "bad_json", ""),
    (b"{", "bad_json", ""),
    (b"{} {}", "bad_json", ""),
    (b"{'a':1}", "bad_json", ""),
    (b'{"a":1,}', "bad_json", ""),
    (b'{"a":01}', "bad_json", ""),
    (b'{"a":+1}', "bad_json", ""),
    (b'{"a":1} // x', "bad_json", ""),
    (b'"a\nb"', "bad_json", ""),
    (b'"\\x"', "bad_json", ""),
    (b"\xef\xbb\xbf{}", "bad_json", ""),
    (b'{"a":1', "bad_json", ""),
    (b'{"a":1.5', "bad_json", ""),
    ("{}".encode("utf-16"), "nul", ""),
    (b'"\xff"', "not_utf8", ""),
    (b'"\xed\xa0\x80"', "not_utf8", ""),
    (b'"\xc0\x80"', "not_utf8", ""),
    (b'{"a":"\x00"}', "nul", ""),
    (b'{"a":["x","y\\u0000"]}', "nul", "/a/1"),
    (b'{"a":{"\\u0000":1}}', "nul", "/a"),
    (b'{"a":1,"a":1}', "duplicate_key", "/a"),
    (b'{"a":1,"\\u0061":2}', "duplicate_key", "/a"),
    (b'{"x":[{"a/b~":1,"a/b~":2}]}', "duplicate_key", "/x/0/a~1b~0"),
    (b'{"a":NaN}', "not_finite", "/a"),
    (b"[Infinity]", "not_finite", "/0"),
    (b"[0,-Infinity]", "not_finite", "/1"),
    (b'{"a":1.0}', "float_not_allowed", "/a"),
    (b'{"a":1e2}', "float_not_allowed", "/a"),
    (b'{"a":1e999}', "float_not_allowed", "/a"),
    (b'{"a":-0.0}', "float_not_allowed", "/a"),
    (b'{"a":"\\ud800"}', "lone_surrogate", "/a"),
    (b'{"a":"\\udc00\\ud800"}', "lone_surrogate", "/a"),
    (b'{"a":[{"\\udfff":0}]}', "lone_surrogate", "/a/0"),
    (b'{"a":' + b"9" * 5000 + b"}", "number_range", "/a"),
    (b'{"b":1.5,"a":NaN}', "float_not_allowed", "/b"),
]


@pytest.mark.parametrize(("raw", "code", "pointer"), REFUSED)
def test_a_doubtful_text_is_refused_at_its_place(raw, code, pointer):
    assert refusal_of(raw) == (code, pointer)


def test_every_code_of_the_table_is_met_by_a_case():
    assert {code for _, code, _ in REFUSED} | {"too_deep"} == set(CODES)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b' {\t"a" : [ ] }\r\n', {"a": []}),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\\\u0000"', "\\u0000"),
        (b'"\\\\ud800"', "\\ud800"),
        (b"-0", 0),
        (b"null", None),
        ('"é\u2028"'.encode(), "é\u2028"),
    ],
)
def test_what_every_reader_understands_is_read(raw, value):
    assert parse(raw) == value


@pytest.mark.parametrize("opened", [(b"[", b"]"), (b'{"a":', b"}")])
def test_sixteen_levels_are_read_and_seventeen_are_not(opened):
    def nested(levels):
        return opened[0] * levels + b"0" + opened[1] * levels

    parse(nested(15))
    parse(nested(16))
    assert refusal_of(nested(17)) == ("too_deep", "")


def test_breadth_and_brackets_in_texts_are_no_depth():
    parse(b"[" + b",".join([b"[[]]"] * 100) + b"]")
    parse(json.dumps("[" * 100 + '"{').encode())


def test_a_text_of_nothing_but_openings_is_too_deep_and_no_crash():
    assert refusal_of(b"[" * 60_000) == ("too_deep", "")
    assert refusal_of(b'{"a":' * 10_000) == ("too_deep", "")


def test_a_large_text_that_nothing_closes_takes_no_longer_than_its_length():
    opened = b'{"a":' + b"[" * 17 + b'"'
    assert refusal_of(opened + b'\\"' * 2_000_000) == ("too_deep", "")
    assert refusal_of(b'"' + b'[\\"' * 1_000_000) == ("bad_json", "")


@pytest.mark.parametrize("sign", [1, -1])
def test_integers_are_read_up_to_two_to_the_53rd(sign):
    for size in (2**53 - 1, 2**53):
        assert parse(b"%d" % (sign * size)) == sign * size
    assert refusal_of(b"[%d]" % (sign * (2**53 + 1))) == ("number_range", "/0")


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused_and_never_crash(raw):
    try:
        value, code = parse(raw), None
    except Unreadable as met:
        value, code = None, met.refusal.code
    assert code in CODES or json.loads(raw) == value
