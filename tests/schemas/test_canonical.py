"""Canonical JSON: equal values give equal bytes, as RFC 8785 has them."""

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import canonical_hash, canonical_json

WHOLE = st.integers(-(2**53) + 1, 2**53 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | WHOLE | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_any_value_is_written_as_the_reference_writes_it(value):
    assert canonical_json(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, "x"]}, '{"a":[true,null,"x"],"b":1}'),
        ({"\ufb33": 1, "\U0001f600": 2}, '{"\U0001f600":2,"\ufb33":1}'),
        ('\x00\x1f\x7f\n"\\/\u20ac', '"\\u0000\\u001f\x7f\\n\\"\\\\/\u20ac"'),
        (2**53, "9007199254740992"),
    ],
)
def test_the_form_is_fixed(value, text):
    assert canonical_json(value).decode() == text


@pytest.mark.parametrize("value", [1.0, float("nan"), b"x", {1, 2}, {"a": 0.5}])
def test_what_has_no_canonical_form_is_an_error(value):
    with pytest.raises(TypeError):
        canonical_json(value)


def test_the_hash_is_that_of_the_bytes():
    assert canonical_hash({}).hex() == (
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )
