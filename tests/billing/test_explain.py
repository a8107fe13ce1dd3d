"""Explain: every line adds up again from its frozen entries, or says where it does not."""

import json

import pytest

from schemas.canonical import canonical_hash, canonical_json
from services.billing.books import Document, Explanation, Mismatch
from services.billing.explain import explain
from services.billing.invoices import UNHASHED, read_document
from tests.billing.story import Story, a_rate, terms


def two_months():
    story = Story(card=(a_rate("r-1", "15.25"),), terms=(terms(minutes=6),))
    story.record("e-1", "2026-07-06T23:00-04:00/2026-07-07T00:58-04:00")
    story.record("e-2", "2026-07-08 62")
    story.issue("2026-07")
    story.amend("e-1", 1, "2026-07-06T23:00-04:00/2026-07-07T00:28-04:00")
    story.record("e-3", "2026-08-06 60")
    story.issue("2026-08")
    return story.documents


def test_a_regular_line_is_explained_by_dates_seconds_rate_and_amount():
    july, _ = two_months()
    found = explain(july, 1)
    assert isinstance(found, Explanation)
    assert found.steps == (
        "2026-07-06: 1:00:00",
        "2026-07-07: 0:58:00",
        "2026-07-08: 1:02:00",
        "entries: 3:00:00, rounded 3:06:00",
        "3.10 hours at 15.25 USD = 47.28 USD",
    )
    assert found.old_proved
    assert [row.entry_id for row in found.issued.line.rows] == ["e-1", "e-1", "e-2"]


def test_an_adjustment_is_explained_by_old_and_new_and_proved_by_the_lines_before():
    july, august = two_months()
    alone, proved = explain(august, 2), explain(august, 2, [july, august])
    assert isinstance(alone, Explanation)
    assert isinstance(proved, Explanation)
    assert (alone.old_proved, proved.old_proved) == (False, True)
    assert alone.steps == proved.steps
    assert proved.steps[-3:] == (
        "old: 3.10 hours at 15.25 USD = 47.28 USD",
        "new: 2.60 hours at 15.25 USD = 39.65 USD",
        "new less old: -7.63 USD",
    )


def test_a_line_that_is_not_there_is_said_to_be_unknown():
    july, _ = two_months()
    assert explain(july, 2) == Mismatch("unknown_line", "INV-2026-0001 has lines 1 to 1")
    assert isinstance(explain(july, 0), Mismatch)


def spoiled(issued, change):
    """A document with other figures, and hashes that fit them: only the sums can tell."""
    body = json.loads(issued.body)
    change(body)
    told = {name: value for name, value in body.items() if name not in UNHASHED}
    body["content_sha256"] = canonical_hash(told).hex()
    found = read_document(canonical_json(body))
    assert isinstance(found, Document)
    return found


def line(number, **changes):
    return lambda body: body["lines"][number - 1].update(changes)


def entry(number, row, **changes):
    return lambda body: body["lines"][number - 1]["entries"][row].update(changes)


WRONG = (("old", "47.27"), ("new", "39.64"))  # a cent less, and the same difference


def both(*changes):
    return lambda body: [change(body) for change in changes]


@pytest.mark.parametrize(
    ("number", "change", "code"),
    [
        (1, lambda body: body.update(total="47.29"), "total"),
        (1, line(1, amount="15.26"), "total"),
        (1, both(line(1, amount="15.26"), lambda body: body.update(total="7.63")), "new_amount"),
        (1, line(1, rate="15.26"), "new_amount"),
        (1, line(1, seconds=3601), "seconds"),
        (1, entry(1, 0, seconds=3601), "seconds"),
        (1, entry(1, 0, rounded_seconds=3601), "rounded_seconds"),
        (1, line(1, hours="1.01"), "hours"),
        (
            1,
            both(entry(1, 0, seconds=3599), line(1, seconds=3599, increment={"minutes": 0})),
            "rounding",
        ),
        (2, lambda body: body["lines"][1]["old"].update(amount="47.27"), "total"),
        (
            2,
            lambda body: [body["lines"][1][part].update(amount=amount) for part, amount in WRONG],
            "old_amount",
        ),
        (2, line(2, entries=[]), "seconds"),
        (2, line(2, amount="-7.62"), "amount"),
    ],
)
def test_whatever_does_not_add_up_is_found_and_named(number, change, code):
    july, august = two_months()
    if code == "rounding":
        change = both(change, line(1, increment={"minutes": 0, "direction": "up"}))
    found = explain(spoiled(august, change), number, [july])
    assert isinstance(found, Mismatch)
    assert found.code == code


def test_an_old_that_the_earlier_lines_do_not_carry_is_found():
    july, august = two_months()

    def change(body):
        for part in ("old", "new"):
            body["lines"][1][part]["seconds"] += 1

    assert isinstance(explain(spoiled(august, change), 2), Explanation)
    found = explain(spoiled(august, change), 2, [july])
    assert isinstance(found, Mismatch)
    assert found.code == "old_lines"


def test_a_changed_byte_is_found_before_anything_is_added_up():
    july, _ = two_months()
    body = july.body.replace(b"47.28", b"47.29")
    found = explain(Document(july.number, july.series, None, "", "", body), 1)
    assert isinstance(found, Mismatch)
    assert found.code == "content_hash"
