"""Drafts: one document a firm and month, in order, and what must not be approved says so."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.billing.books import EntryMissingError
from services.billing.drafts import draft, issued_digest
from tests.billing.story import Story, a_placement, a_rate, at, month, shown

WORK = "2026-07-06T09:00-04:00/2026-07-06T10:00-04:00"


def settled_july():
    story = Story()
    story.record("e-1", WORK)
    story.issue("2026-07")
    return story


@pytest.mark.parametrize(
    ("period", "blocked"),
    [
        ("2026-06", [("period_before_first", "2026-07")]),
        ("2026-07", [("period_settled", "2026-07")]),
        ("2026-08", []),
        ("2026-09", [("month_order", "2026-08")]),
    ],
)
def test_months_are_invoiced_in_order_and_each_once(period, blocked):
    made = settled_july().draft(period)
    assert [tuple(one) for one in made.blocked] == blocked


def test_a_first_run_may_take_any_month():
    story = Story()
    assert [story.draft(period).blocked for period in ("2025-01", "2026-07")] == [(), ()]


def test_a_settled_month_without_a_document_counts_as_settled():
    story = Story()
    assert story.settle("2026-07") is None
    assert story.draft("2026-08").blocked == ()
    assert story.draft("2026-09").blocked[0].code == "month_order"


def test_a_missing_rate_blocks_by_name_and_bills_the_rest():
    story = Story(card=(a_rate("r-PH", "9.00", "PH"),))
    story.placements["p-2"] = a_placement("p-2", "a-2", "IN")
    story.record("e-1", WORK)
    story.record("e-2", WORK, placement_id="p-2")
    story.record("e-3", "2026-07-07 60", placement_id="p-2")
    made = story.draft("2026-07")
    assert [tuple(one) for one in made.blocked] == [("unrated", "p-2 IN legal_assistant active")]
    assert shown(made) == ["2026-07 p-1 r-PH regular 3600 s 9.00"]


def test_a_missing_rate_blocks_a_month_that_has_nothing_else():
    story = Story(card=())
    story.record("e-1", WORK)
    made = story.draft("2026-07")
    assert (made.outcome, [one.code for one in made.blocked]) == ("nothing_due", ["unrated"])


def test_a_missing_rate_of_a_later_month_does_not_block_yet():
    story = Story(card=())
    story.record("e-1", "2026-08-06 60")
    assert story.draft("2026-07").blocked == ()


@pytest.mark.parametrize(
    ("card", "blocked"),
    [
        ((a_rate("r-eur", "9.00", currency="EUR"),), ("currency_mismatch", "r-eur EUR")),
        (
            (
                a_rate("r-1", "9.00", "PH", placement_id="p-1"),
                a_rate("r-2", "9", placement_id="p-1"),
            ),
            ("rate_ambiguous", "r-1 r-2"),
        ),
    ],
)
def test_a_rate_of_another_currency_or_two_at_once_block_by_name(card, blocked):
    story = Story(card=card)
    story.record("e-1", WORK)
    made = story.draft("2026-07")
    assert [tuple(one) for one in made.blocked] == [blocked]
    assert [row.reason for row in made.held] == ["unrated"]


def test_a_billed_entry_that_was_not_gathered_is_not_credited_but_refused():
    books = settled_july().books("2026-08")
    with pytest.raises(EntryMissingError, match="e-1"):
        draft(replace(books, entries=()))


def test_the_digest_names_the_issued_lines_whatever_their_order():
    story = settled_july()
    before = story.books("2026-08")
    story.amend("e-1", 1, "2026-07-06T09:00-04:00/2026-07-06T11:00-04:00")
    story.issue("2026-08")
    after = story.books("2026-09")
    assert draft(before).issued_digest == issued_digest(before.issued)
    assert issued_digest(after.issued) == issued_digest(reversed(after.issued))
    assert issued_digest(after.issued) != issued_digest(before.issued)
    assert issued_digest(()) != issued_digest(before.issued)


def test_open_timers_are_listed_and_bill_nothing():
    story = Story(instant=datetime(2026, 8, 1, 12, tzinfo=UTC))
    story.start("e-long", "2026-07-31T09:00-04:00")
    story.start("e-now", "2026-08-01T07:00-04:00")
    story.stop("e-stop", "2026-07-31T09:00-04:00")
    made = story.draft("2026-07")
    assert [tuple(timer) for timer in made.open_timers] == [
        ("e-long", "p-1", at("2026-07-31T13:00+00:00"), True),
        ("e-now", "p-1", at("2026-08-01T11:00+00:00"), False),
        ("e-stop", "p-1", None, False),
    ]
    assert (made.lines, made.held) == ((), ())


def test_a_timer_that_stops_later_is_late_work_of_its_month():
    story = Story()
    story.record("e-1", WORK)
    story.start("e-2", "2026-07-31T22:00-04:00")
    story.issue("2026-07")
    story.stop("e-2", "2026-08-01T02:00-04:00")
    assert shown(story.draft("2026-08")) == [
        "2026-08 p-1 r-1 regular 7200 s 30.00",
        "2026-07 p-1 r-1 adjustment 7200 s 30.00",
    ]


def test_a_draft_says_which_run_made_it():
    made = Story().draft("2026-07")
    assert (made.run.run_id, made.period, made.firm.firm_id) == (
        "run-2026-07",
        month("2026-07"),
        "firm-1",
    )
