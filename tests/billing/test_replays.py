"""Replays: what a run kept beside what is decided again, and each part in which they differ."""

import json
from datetime import date
from hashlib import sha256

import pytest

from services.billing.invoices import content, document
from services.billing.replays import Kept, Replay, compare, pending
from services.billing.reports import report
from tests.billing.story import Story


def drafted(*days):
    """July with an hour on each of some days."""
    story = Story()
    for day in days:
        story.record(f"e-{day}", f"2026-07-{day:02} 60")
    return story.draft("2026-07")


def told(made, **more):
    return json.dumps(report(made) | more)


def body_of(made):
    return document(
        content(made),
        number="INV-2026-0001",
        invoice_date=date(2026, 8, 1),
        series="INV-2026",
        predecessor="ab" * 32,
    ).body


def kept(made, *, issued=False, **more):
    """What a run keeps of a draft with a document, and what is there once that is issued."""
    return Kept(told(made, **more), content(made), body_of(made) if issued else None)


HOUR, TWO, NOTHING = drafted(6), drafted(6, 7), drafted()
DIFFERENT = ("total", "lines", "buckets", "buckets_if_issued")
CASES = [
    ("a draft as it was", kept(HOUR), HOUR, told(HOUR), ()),
    ("a document as it was", kept(HOUR, issued=True), HOUR, told(HOUR), ()),
    ("nothing due", Kept(told(NOTHING), None, None), NOTHING, told(NOTHING), ()),
    ("a dry run keeps no draft", Kept(told(HOUR), None, None), HOUR, told(HOUR), ()),
    ("another draft", kept(HOUR), TWO, told(TWO), (*DIFFERENT, "content")),
    (
        "another document",
        kept(HOUR, issued=True),
        TWO,
        told(TWO),
        (*DIFFERENT, "content", "document"),
    ),
    ("a dry run of another draft", Kept(told(HOUR), None, None), TWO, told(TWO), DIFFERENT),
    (
        "nothing due any more",
        kept(HOUR),
        NOTHING,
        told(NOTHING),
        ("outcome", *DIFFERENT, "content"),
    ),
    (
        "a document and nothing due any more",
        kept(HOUR, issued=True),
        NOTHING,
        told(NOTHING),
        ("outcome", *DIFFERENT, "content", "document"),
    ),
    ("a draft that fails now", kept(HOUR), None, told(HOUR), ("content",)),
    (
        "a stored draft that was changed",
        Kept(told(HOUR), b"{}", None),
        HOUR,
        told(HOUR),
        ("content",),
    ),
    (
        "a stored document of another draft",
        kept(HOUR)._replace(body=body_of(TWO)),
        HOUR,
        told(HOUR),
        ("document",),
    ),
    (
        "a stored document of which a byte was changed",
        kept(HOUR)._replace(body=body_of(HOUR).replace(b'"15.00"', b'"15.01"')),
        HOUR,
        told(HOUR),
        ("document",),
    ),
    ("a part that is new", kept(HOUR), HOUR, told(HOUR, more=1), ("more",)),
    ("a part that is gone", kept(HOUR, more=1), HOUR, told(HOUR), ("more",)),
    ("other bytes that say the same", kept(HOUR), HOUR, told(HOUR) + "\n", ("bytes",)),
]


@pytest.mark.parametrize(
    ("before", "made", "again", "differences"),
    [pytest.param(*row[1:], id=row[0]) for row in CASES],
)
def test_what_differs_is_named(before, made, again, differences):
    found = compare("firm-1", before, made, again)
    assert (found.firm_id, found.outcome) == ("firm-1", json.loads(before.report)["outcome"])
    assert sorted(found.differences) == sorted(differences)
    assert found.state == ("differs" if differences else "same")


def test_both_sides_are_told_by_their_hashes():
    found = compare("firm-1", kept(HOUR), TWO, told(TWO))
    sides = (told(HOUR).encode(), told(TWO).encode(), content(HOUR), content(TWO))
    assert (
        found.report_sha256,
        found.replayed_report_sha256,
        found.content_sha256,
        found.replayed_content_sha256,
    ) == tuple(sha256(side).hexdigest() for side in sides)
    nothing = compare("firm-1", Kept(told(NOTHING), None, None), NOTHING, told(NOTHING))
    assert (nothing.content_sha256, nothing.replayed_content_sha256) == (None, None)


def test_a_firm_that_is_not_decided_yet_is_pending():
    assert pending("firm-1") == Replay("firm-1", "pending")
