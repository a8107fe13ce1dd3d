"""Plain entries: whatever is taken together unread, the draft is that of every entry judged."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.billing.books import FirmBooks, OtherSpan
from services.billing.drafts import draft
from services.billing.invoices import content
from services.billing.outlines import outline
from services.billing.plain import Sifted, sift
from services.billing.reports import report
from tests.billing.story import Story, a_placement, at, terms, timeline
from tests.billing.test_properties import MANY, MONTHS, POLICIES, STEPS, Told, instants

MORNING = "2026-07-{day:02}T09:00-04:00/2026-07-{day:02}T10:00-04:00"

# At other firms: a timer of a-1 that runs, or not; seconds of a-2 on one date.
ELSEWHERE = st.tuples(
    st.one_of(
        st.just(()), instants(1).map(lambda started_at: (OtherSpan("a-1", started_at, None),))
    ),
    st.integers(0, 86_400).map(lambda seconds: {("a-2", date(2026, 7, 9)): seconds}),
)


def sifted(books: FirmBooks) -> tuple[FirmBooks, Sifted]:
    """Books as a run gathers them: with the entries that are to be judged, and no others."""
    outlines = [known for book in books.entries if (known := outline(book)) is not None]
    unsure = {book.entry_id for book in books.entries if book.failed or book.id_reused}
    found = sift(replace(books, entries=()), outlines, unsure)
    judged = tuple(book for book in books.entries if book.entry_id in found.judged)
    return replace(books, entries=judged), found


def plain_ids(story: Story, period: str) -> list[str]:
    """Which entries are plain; whether they are or not, the draft is the same."""
    books = story.books(period)
    some, found = sifted(books)
    assert draft(some, found) == draft(books)
    return sorted(member.entry_id for group in found.plain for member in group.members)


@settings(MANY, max_examples=75)
@given(POLICIES, STEPS, ELSEWHERE)
def test_what_is_taken_together_is_billed_as_if_each_entry_was_judged(policy, steps, elsewhere):
    told = Told(policy)
    story = told.story
    for step in steps:
        told.take(step)
        story.other_spans, story.other_days = elsewhere
        books = story.books(told.months[0] if told.months else MONTHS[-1])
        some, found = sifted(books)
        made, whole = draft(some, found), draft(books)
        assert made == whole
        assert report(made) == report(whole)
        if whole.outcome == "document":
            assert content(made) == content(whole)


def test_a_months_plain_work_is_plain_before_and_after_it_is_issued():
    story = Story(terms=(terms(minutes=6),))
    for day in (1, 2, 3):
        story.record(f"e-{day}", MORNING.format(day=day))
    story.record("n-1", MORNING.format(day=4), billable=False)
    assert plain_ids(story, "2026-07") == ["e-1", "e-2", "e-3", "n-1"]
    story.issue("2026-07")
    story.record("e-9", "2026-08-03T09:00-04:00/2026-08-03T10:00-04:00")
    assert plain_ids(story, "2026-08") == ["e-1", "e-2", "e-3", "e-9", "n-1"]


def test_plain_work_of_a_later_month_is_no_matter_of_this_one():
    story = Story()
    story.record("e-1", MORNING.format(day=1))
    story.record("e-2", "2026-08-03T09:00-04:00/2026-08-03T10:00-04:00")
    assert plain_ids(story, "2026-07") == ["e-1", "e-2"]


def test_an_entry_that_was_amended_or_voided_after_its_issue_is_judged():
    story = Story()
    for day in (1, 2, 3):
        story.record(f"e-{day}", MORNING.format(day=day))
    story.issue("2026-07")
    story.amend("e-1", 1, "2026-07-01T09:00-04:00/2026-07-01T09:30-04:00")
    story.void("e-2", 1)
    assert plain_ids(story, "2026-08") == ["e-3"]


def test_an_entry_of_which_a_part_was_billed_is_judged_when_nothing_holds_the_rest_any_more():
    story = Story(placements={"p-1": a_placement(ended_at=at("2026-07-01T09:30-04:00"))})
    story.record("e-1", MORNING.format(day=1))
    story.issue("2026-07")
    story.placements["p-1"] = a_placement()
    assert plain_ids(story, "2026-08") == []
    assert [line.difference.seconds for line in story.draft("2026-08").lines] == [1800]


def test_both_sides_of_an_overlap_are_judged_and_the_third_is_plain():
    story = Story(placements={"p-1": a_placement(), "p-2": a_placement("p-2")})
    story.record("e-1", MORNING.format(day=1))
    story.record("e-2", "2026-07-01T09:59-04:00/2026-07-01T11:00-04:00", placement_id="p-2")
    story.record("e-3", "2026-07-01T11:00-04:00/2026-07-01T12:00-04:00")
    assert plain_ids(story, "2026-07") == ["e-3"]


def test_a_running_timer_and_work_elsewhere_leave_what_they_touch_to_be_judged():
    story = Story(placements={"p-1": a_placement(), "p-2": a_placement("p-2", "a-2")})
    story.start("t-1", "2026-07-01T08:00-04:00")
    story.record("e-1", MORNING.format(day=1))
    story.record("e-2", MORNING.format(day=2))
    story.record("e-3", MORNING.format(day=3), placement_id="p-2")
    story.record("e-4", MORNING.format(day=4), placement_id="p-2")
    story.other_spans = (OtherSpan("a-2", at("2026-07-03T09:30-04:00"), None),)
    assert plain_ids(story, "2026-07") == ["e-2", "e-4"]


def test_a_day_that_may_be_too_long_is_judged_whole():
    story = Story()
    story.record("e-1", "2026-07-01T00:00-04:00/2026-07-01T12:00-04:00")
    story.record("e-2", "2026-07-01 721")
    story.record("e-3", "2026-07-04 60")
    story.record("e-4", MORNING.format(day=4))
    assert plain_ids(story, "2026-07") == ["e-4"]
    story.other_days = {("a-1", date(2026, 7, 4)): 86_000}
    assert plain_ids(story, "2026-07") == []


def test_what_reaches_into_a_day_from_the_day_before_makes_it_too_long():
    story = Story()
    story.record("night", "2026-07-01T14:00-04:00/2026-07-02T06:00-04:00")
    story.record("day", "2026-07-02T06:00-04:00/2026-07-02T22:00-04:00")
    story.record("said", "2026-07-02 180")
    assert {row.reason for row in story.draft("2026-07").held} == {"daily_cap"}
    assert plain_ids(story, "2026-07") == []


def test_less_than_a_day_touches_three_dates_where_the_clock_goes_forward():
    story = Story()
    story.record("long", "2026-03-07T23:59:59-05:00/2026-03-09T00:59:58-04:00")
    story.record("day", "2026-03-09T09:00-04:00/2026-03-09T10:00-04:00")
    story.record("said", "2026-03-09 1321")
    assert {row.entry_id for row in story.draft("2026-03").held if row.reason == "daily_cap"} == {
        "day",
        "said",
    }
    assert plain_ids(story, "2026-03") == []


def test_what_has_no_rate_or_no_approval_is_judged():
    story = Story(terms=(terms("required"),))
    for day in (1, 2):
        story.record(f"e-{day}", MORNING.format(day=day))
    story.approve("e-1")
    assert plain_ids(story, "2026-07") == ["e-1"]
    story.card = ()
    assert plain_ids(story, "2026-07") == []


def test_what_is_long_cut_failed_reused_claimed_outside_or_of_another_source_is_judged():
    story = Story(
        placements={
            "p-1": a_placement(),
            "p-2": a_placement("p-2", "a-2", ended_at=at("2026-07-05T09:30-04:00")),
        }
    )
    story.record("long", "2026-07-01T00:00-04:00/2026-07-01T16:00:01-04:00")
    story.record("cut", "2026-07-02T22:00-04:00/2026-07-03T02:00-04:00")
    story.record("failed", MORNING.format(day=4))
    story.record("reused", MORNING.format(day=5))
    story.record("outside", MORNING.format(day=6), placement_id="p-2")
    story.record("ends", MORNING.format(day=5), placement_id="p-2")
    story.record("unknown", MORNING.format(day=7), placement_id="p-unknown")
    story.record("claimed", MORNING.format(day=9))
    story.void("claimed", 1, placement_id="p-2")
    story.record("plain", MORNING.format(day=8))
    story.failed, story.id_reused = {"failed"}, {"reused"}
    assert plain_ids(story, "2026-07") == ["plain"]


@pytest.mark.parametrize(("pinned", "today"), [("trial", "active"), ("active", "trial")])
def test_late_work_is_in_the_phase_that_its_month_pinned_whatever_today_says(pinned, today):
    story = Story(terms=(terms(excluded_phases=frozenset({"trial"})),))
    story.placements["p-1"] = a_placement(phases=timeline(pinned))
    story.settle("2026-07")
    story.placements["p-1"] = a_placement(phases=timeline(today))
    story.record("e-1", MORNING.format(day=1))
    assert plain_ids(story, "2026-08") == ["e-1"]


def test_what_was_outlined_with_a_placement_that_the_cut_does_not_know_is_judged():
    story = Story()
    story.record("e-1", MORNING.format(day=1))
    (known,) = (outline(book) for book in story.books("2026-07").entries)
    assert known is not None
    story.placements.clear()
    books = replace(story.books("2026-07"), entries=())
    assert sift(books, [known], ()).judged == {"e-1"}


def test_a_changed_term_that_would_unbill_what_is_billed_leaves_it_to_be_judged():
    story = Story()
    story.record("e-1", MORNING.format(day=1), kind="training")
    story.issue("2026-07")
    story.settled = {
        month: replace(pinned, terms=(terms(excluded_kinds=frozenset({"training"})),))
        for month, pinned in story.settled.items()
    }
    assert plain_ids(story, "2026-08") == []
    listed = [tuple(notice)[:2] for notice in story.draft("2026-08").notices]
    assert listed == [("billed_non_billable", "e-1")]
