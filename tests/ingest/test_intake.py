"""Intake: what a refused event is still called, and when its name is not looked for."""

import pytest

from services.ingest.intake import Refused, read_items
from tests.ingest.conftest import event, raw

NAMED = raw(event("e-1"))


@pytest.mark.parametrize(
    ("item", "code", "named"),
    [
        (NAMED.replace(b'"t-1"', b"1"), "invalid_field", True),
        (NAMED.replace(b'"t-1"', b"[" * 900), "too_deep", False),
        (NAMED.replace(b'"t-1"', b"[]," * 500 + b"[]"), "bad_json", False),
        (NAMED.replace(b'"t-1"', b"[" + b"{}," * 1_000 + b"{}]"), "too_many_values", False),
        (NAMED + b" " * 65_536, "event_too_large", False),
    ],
)
def test_a_refused_event_is_named_where_that_takes_no_time(item, code, named):
    (found,) = read_items([item], 0)
    assert isinstance(found, Refused)
    assert (found.code, found.id) == (code, "e-1" if named else None)
