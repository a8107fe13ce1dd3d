"""Overlaps, runaways and days too long, asked over all firms of an assistant."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.entries import fold_entry
from services.billing.books import OtherSpan
from services.billing.overlaps import days, is_runaway, over_cap, overlapping, spans
from tests.billing.story import NEW_YORK, Story, a_placement, at, held, shown, timeline

NINE = at("2026-07-06T09:00-04:00")


def clock(hours):
    return NINE + timedelta(hours=hours)


def span(since, until):
    return f"{clock(since).isoformat()}/{clock(until).isoformat()}"


def crossing(story, instant=None):
    books = story.books("2026-07")
    return overlapping(
        books.entries,
        story.placements,
        NEW_YORK,
        story.other_spans,
        instant or books.run.instant,
    )


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=9))
def test_an_entry_overlaps_when_it_shares_a_moment_with_another(intervals):
    story = Story()
    for number, (since, hours) in enumerate(intervals):
        story.record(f"e-{number}", span(since, since + hours))
    expected = {
        f"e-{i}"
        for i, (a, n) in enumerate(intervals)
        for j, (b, m) in enumerate(intervals)
        if i != j and max(a, b) < min(a + n, b + m)
    }
    assert crossing(story) == expected


def test_only_the_same_assistant_overlaps_whatever_the_placement_and_firm():
    story = Story(
        placements={
            "p-1": a_placement(),
            "p-2": a_placement("p-2", "a-1"),
            "p-3": a_placement("p-3", "a-3"),
        }
    )
    for number in (1, 2, 3):
        story.record(f"e-{number}", span(number / 10, 5), placement_id=f"p-{number}")
    assert crossing(story) == {"e-1", "e-2"}
    story.other_spans = (OtherSpan("a-3", clock(4.9), clock(9)),)
    assert crossing(story) == {"e-1", "e-2", "e-3"}


def test_a_running_timer_reaches_to_the_runs_instant_but_no_further_than_16_hours():
    story = Story()
    story.start("running", NINE.isoformat())
    story.record("late", span(15, 17))
    story.record("later", span(17, 18))
    assert crossing(story, clock(15)) == frozenset()
    assert crossing(story, clock(15.5)) == {"running", "late"}
    assert crossing(story, clock(90)) == {"running", "late"}


def test_time_of_another_source_takes_no_part():
    placement = a_placement(sources=timeline(None, ("2026-07-01", "toggl")))
    story = Story(placements={"p-1": placement})
    story.record("ours", span(0, 2), source="toggl/workspace-1")
    story.record("theirs", span(1, 3))
    story.start("running", clock(1).isoformat())
    assert crossing(story) == frozenset()
    assert held(story.draft("2026-07")) == ["2026-07 theirs other_source 7200"]
    story.record("again", span(1, 3), source="toggl/workspace-1")
    assert crossing(story) == {"ours", "again"}
    story.start("timer", clock(1).isoformat(), source="toggl/workspace-1")
    assert crossing(story) == {"ours", "again", "timer"}


def test_whose_a_running_timer_is_depends_on_the_firms_date_of_its_start():
    placement = a_placement(sources=timeline(None, ("2026-07-06", "toggl")))
    story = Story(placements={"p-1": placement})
    story.start("evening", "2026-07-05T22:00-04:00")
    story.record("evenings", "2026-07-05T23:00-04:00/2026-07-05T23:30-04:00")
    assert crossing(story) == {"evening", "evenings"}


def test_void_entries_and_those_without_clock_times_overlap_nothing():
    story = Story()
    story.record("kept", span(0, 2))
    story.record("taken-back", span(1, 3))
    story.void("taken-back", 1)
    story.record("a-days-sum", "2026-07-06 300")
    assert crossing(story) == frozenset()


def test_what_another_firm_hears_is_who_and_when_and_nothing_else():
    story = Story()
    story.record("e-1", span(0, 2))
    story.start("e-2", clock(3).isoformat())
    entries = story.books("2026-07").entries
    assert spans(entries, story.placements, NEW_YORK) == (
        OtherSpan("a-1", clock(0), clock(2)),
        OtherSpan("a-1", clock(3), None),
    )
    assert days(entries) == {("a-1", NINE.date()): 7200}


@pytest.mark.parametrize(("seconds", "runaway"), [(57_600, False), (57_601, True)])
def test_a_span_of_more_than_16_hours_is_a_runaway_open_or_closed(seconds, runaway):
    story = Story()
    until = NINE + timedelta(seconds=seconds)
    story.record("closed", f"{NINE.isoformat()}/{until.isoformat()}")
    story.start("open", NINE.isoformat())
    closed, still_open = (fold_entry(story.facts[e]) for e in ("closed", "open"))
    assert closed
    assert still_open
    assert is_runaway(closed, NINE) is runaway
    assert is_runaway(still_open, until) is runaway


def test_a_runaway_is_held_as_a_whole_over_both_dates():
    story = Story()
    story.record("e-1", span(0, 17))
    assert held(story.draft("2026-07")) == [
        "2026-07 e-1 runaway 54000",
        "2026-07 e-1 runaway 7200",
    ]


@pytest.mark.parametrize(("elsewhere", "lines"), [(43_200, 1), (43_201, 0)])
def test_more_than_24_hours_of_one_assistant_on_a_date_hold_all_of_that_date(elsewhere, lines):
    story = Story(other_days={("a-1", NINE.date()): elsewhere, ("a-2", NINE.date()): 90_000})
    story.record("e-1", "2026-07-06 400")
    story.record("e-2", "2026-07-06 320")
    story.record("e-3", "2026-07-07 60")
    made = story.draft("2026-07")
    reasons = [] if lines else ["2026-07 e-1 daily_cap 24000", "2026-07 e-2 daily_cap 19200"]
    assert held(made) == reasons
    assert shown(made) == [
        f"2026-07 p-1 r-1 regular {46_800 if lines else 3_600} s {'195.00' if lines else '15.00'}"
    ]
    cap = over_cap(story.books("2026-07").entries, story.other_days)
    assert cap == (frozenset() if lines else {("a-1", NINE.date())})


def test_time_of_another_source_or_of_nobody_known_does_not_fill_a_day():
    placement = a_placement(sources=timeline("toggl"))
    story = Story(placements={"p-1": placement})
    story.record("ours", "2026-07-06 900", source="toggl/workspace-1")
    story.record("theirs", "2026-07-06 900")
    story.record("nobodys", "2026-07-06 900", placement_id="p-none")
    assert days(story.books("2026-07").entries) == {("a-1", NINE.date()): 54_000}
    assert held(story.draft("2026-07")) == [
        "2026-07 nobodys unknown_placement 54000",
        "2026-07 theirs other_source 54000",
    ]
