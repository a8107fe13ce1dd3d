"""Buckets: every worked second is billed, held by reason, not billable or written off."""

from dataclasses import replace

import pytest

from services.billing.books import Bucket, UnbalancedError
from services.billing.buckets import buckets
from services.billing.due import decide
from services.billing.holds import ask
from services.billing.ledger import open_ledger
from services.billing.pricing import Pricing
from tests.billing.story import Story, a_placement, at, bucket, month, terms


def test_a_month_with_everything_in_it_adds_up():
    story = Story(terms=(terms("required", 6),))
    story.placements["p-2"] = a_placement("p-2", "a-2", ended_at=at("2026-07-07T00:00-04:00"))
    story.record("e-1", "2026-07-06 61")
    story.record("e-2", "2026-07-06 30", billable=False)
    story.record("e-3", "2026-07-07 45")
    story.record("e-4", "2026-07-08 15", placement_id="p-2")
    story.record("e-5", "2026-07-08 10", placement_id="p-none")
    story.record("e-6", "2026-08-01 500")
    story.start("e-7", "2026-07-31T10:00-04:00")
    story.approve("e-1", "e-2")
    made = story.draft("2026-07")
    assert bucket(made, "2026-07") == {
        "worked": 161 * 60,
        "billed": 0,
        "awaiting_issue": 61 * 60,
        "outside_placement": 15 * 60,
        "unapproved": 45 * 60,
        "unknown_placement": 10 * 60,
        "non_billable": 30 * 60,
    }
    assert [b.rounding for b in made.buckets] == [0]
    (after,) = made.buckets_if_issued
    assert (after.billed, after.rounding, after.unexplained) == (3660, 300, 0)
    assert "awaiting_issue" not in after.held


def test_rounding_stands_beside_what_is_billed_before_and_after_an_issue():
    story = Story(terms=(terms(minutes=6),))
    story.record("e-1", "2026-07-06 61")
    story.issue("2026-07")
    story.amend("e-1", 1, "2026-07-06 65")
    story.record("e-2", "2026-08-06 1")
    made = story.draft("2026-08")
    assert [(b.billed, b.rounding) for b in made.buckets] == [(3660, 300), (0, 0)]
    assert [(b.billed, b.rounding) for b in made.buckets_if_issued] == [(3900, 60), (60, 300)]


def test_the_rounding_of_a_month_is_that_of_all_its_keys():
    story = Story(terms=(terms(minutes=6),))
    story.placements["p-2"] = a_placement("p-2", "a-2")
    story.record("e-1", "2026-07-06 61")
    story.record("e-2", "2026-07-06 62", placement_id="p-2")
    assert [b.rounding for b in story.draft("2026-07").buckets_if_issued] == [300 + 240]
    story.issue("2026-07")
    assert [b.rounding for b in story.draft("2026-08").buckets] == [300 + 240, 0]


def test_a_newer_version_held_in_part_is_a_pending_change_until_it_is_issued():
    story = Story(placements={"p-1": a_placement(ended_at=at("2026-07-06T11:00-04:00"))})
    story.record("e-1", "2026-07-06T09:00-04:00/2026-07-06T10:00-04:00")
    story.issue("2026-07")
    story.amend("e-1", 1, "2026-07-06T09:00-04:00/2026-07-06T12:00-04:00")
    made = story.draft("2026-08")
    assert bucket(made, "2026-07") == {"worked": 10800, "billed": 3600, "pending_change": 7200}
    split = {"worked": 10800, "billed": 7200, "outside_placement": 3600}
    assert bucket(made, "2026-07", if_issued=True) == split
    story.issue("2026-08")
    assert bucket(story.draft("2026-09"), "2026-07") == split


def test_a_newer_version_that_bills_the_same_is_held_by_its_own_reasons():
    story = Story(placements={"p-1": a_placement(ended_at=at("2026-07-06T10:00-04:00"))})
    story.record("e-1", "2026-07-06T09:00-04:00/2026-07-06T10:00-04:00")
    story.issue("2026-07")
    story.amend("e-1", 1, "2026-07-06T09:00-04:00/2026-07-06T12:00-04:00")
    made = story.draft("2026-08")
    assert made.lines == ()
    split = {"worked": 10800, "billed": 3600, "outside_placement": 7200}
    assert bucket(made, "2026-07") == split


def test_what_is_billed_of_a_date_covers_first_what_may_be_billed():
    story = Story(placements={"p-1": a_placement(started_at=at("2026-07-06T10:00-04:00"))})
    story.record("e-1", "2026-07-06T09:00-04:00/2026-07-06T12:00-04:00")
    story.issue("2026-07")
    split = {"worked": 10800, "billed": 7200, "outside_placement": 3600}
    assert bucket(story.draft("2026-08"), "2026-07") == split
    assert story.draft("2026-08").notices == ()


def test_work_of_a_later_month_is_no_matter_of_this_one():
    story = Story()
    story.record("e-1", "2026-07-31T22:00-04:00/2026-08-01T02:00-04:00")
    made = story.draft("2026-07")
    assert [str(b.service_month) for b in made.buckets] == ["2026-07"]
    assert made.lines[0].new.seconds == 7200
    story.terms = (terms("required"),)
    held_rows = story.draft("2026-07").held
    assert [(str(row.service_month), row.seconds) for row in held_rows] == [("2026-07", 7200)]


def test_what_no_column_explains_is_shown():
    made = Bucket(month("2026-07"), 100, 50, {"unapproved": 20}, 10, 5, 0)
    assert made.unexplained == 15


@pytest.mark.parametrize(("service_month", "seconds"), [("2026-07", 7200), ("2026-08", 3600)])
def test_seconds_that_nothing_explains_stop_everything(service_month, seconds):
    """A due that no part has, or that stands in another month, as a fault of ours could make it."""
    story = Story()
    story.record("e-1", "2026-07-06 60")
    books = story.books("2026-07")
    ledger = open_ledger(())
    decision = decide(books.entries[0], ask(books), Pricing(books, ledger), ledger)
    ((key, day),) = decision.due
    wrong = replace(
        decision, due={(key._replace(service_month=month(service_month)), day): seconds}
    )
    assert buckets([decision], (), books.period, ledger, ())[0].billed == 3600
    with pytest.raises(UnbalancedError):
        buckets([wrong], (), books.period, ledger, ())
