"""Holds: each part that is not billed now is held for the first reason that applies."""

from dataclasses import replace

import pytest

from services.billing.books import OtherSpan
from tests.billing.story import (
    Story,
    a_placement,
    a_rate,
    at,
    bucket,
    held,
    month,
    shown,
    terms,
    timeline,
)

WORK = "2026-07-06T09:00-04:00/2026-07-06T10:00-04:00"
LONG_WORK = "2026-07-06T09:00-04:00/2026-07-07T03:00-04:00"
ELSEWHERE = (OtherSpan("a-1", at("2026-07-06T09:30-04:00"), at("2026-07-06T09:40-04:00")),)


def all_at_once(taken_away):
    """A story in which every reason applies, but those taken away, in the order of the reasons."""
    story = Story(terms=(terms("required"),), card=())
    story.placements = {"p-1": a_placement()}
    ways = {
        "failed": lambda: story.failed.add("e-1"),
        "unknown_placement": story.placements.clear,
        "id_reused": lambda: story.id_reused.add("e-1"),
        "other_placement": lambda: story.void("e-1", 1, placement_id="p-2"),
        "other_source": lambda: change(story, sources=timeline("toggl")),
        "outside_placement": lambda: change(story, ended_at=at("2026-07-01T00:00-04:00")),
        "overlap": lambda: setattr(story, "other_spans", ELSEWHERE),
        "runaway": lambda: None,
        "daily_cap": lambda: story.other_days.update(
            {("a-1", at(f"2026-07-0{day}T12:00-04:00").date()): 86_400 for day in (6, 7)}
        ),
        "unrated": lambda: None,
        "unapproved": lambda: None,
    }
    for reason in [*ways][taken_away:][::-1]:
        ways[reason]()
    if "unrated" not in [*ways][taken_away:]:
        story.card = (a_rate("r-1", "15.00"),)
    story.record("e-1", LONG_WORK if taken_away <= 7 else WORK)
    return story, [*ways][taken_away:]


def change(story, **changes):
    for placement_id, placement in story.placements.items():
        story.placements[placement_id] = replace(placement, **changes)


@pytest.mark.parametrize("taken_away", range(11))
def test_of_several_reasons_the_first_in_their_order_counts(taken_away):
    story, reasons = all_at_once(taken_away)
    made = story.draft("2026-07")
    assert {row.reason for row in made.held} == {reasons[0]}
    assert made.lines == ()


def test_an_entry_that_nothing_holds_awaits_its_issue():
    story = Story()
    story.record("e-1", WORK)
    made = story.draft("2026-07")
    assert made.held == ()
    assert bucket(made, "2026-07") == {"worked": 3600, "billed": 0, "awaiting_issue": 3600}
    assert bucket(made, "2026-07", if_issued=True) == {"worked": 3600, "billed": 3600}


@pytest.mark.parametrize(
    ("placement", "versions", "data"),
    [
        ({}, {}, {"billable": False}),
        ({}, {"excluded_kinds": frozenset({"training"})}, {"kind": "training"}),
        ({"phases": timeline("trial")}, {"excluded_phases": frozenset({"trial"})}, {}),
    ],
    ids=["not billable", "kind", "phase"],
)
def test_what_is_not_billable_is_never_held(placement, versions, data):
    story = Story(
        placements={"p-1": a_placement(ended_at=at("2026-07-01T00:00-04:00"), **placement)},
        terms=(terms("required", **versions),),
        card=(),
    )
    story.record("e-1", WORK, **data)
    made = story.draft("2026-07")
    assert (made.held, made.lines, made.blocked) == ((), (), ())
    assert bucket(made, "2026-07") == {"worked": 3600, "billed": 0, "non_billable": 3600}


def test_an_entry_over_two_months_is_billed_by_the_terms_of_each():
    later = terms(effective_month=month("2026-08"), excluded_kinds=frozenset({"training"}))
    story = Story(terms=(terms(), later))
    story.record("e-1", "2026-07-31T22:00-04:00/2026-08-01T03:00-04:00", kind="training")
    made = story.draft("2026-08")
    assert shown(made) == ["2026-07 p-1 r-1 adjustment 7200 s 30.00"]
    assert bucket(made, "2026-08") == {"worked": 10800, "billed": 0, "non_billable": 10800}


def test_one_segment_may_be_held_while_the_rest_is_billed():
    moved = a_placement(countries=timeline("PH", ("2026-07-07", "IN")))
    story = Story(placements={"p-1": moved}, card=(a_rate("r-PH", "9.00", "PH"),))
    story.record("e-1", "2026-07-06T22:00-04:00/2026-07-07T01:00-04:00")
    made = story.draft("2026-07")
    assert shown(made) == ["2026-07 p-1 r-PH regular 7200 s 18.00"]
    assert held(made) == ["2026-07 e-1 unrated 3600"]
    assert [tuple(b) for b in made.blocked] == [("unrated", "p-1 IN legal_assistant active")]


def test_a_failed_entry_that_shows_nothing_is_listed_without_seconds():
    story = Story(failed={"e-1"})
    story.facts["e-1"] = []
    made = story.draft("2026-07")
    assert held(made) == ["2026-07 e-1 failed 0"]
    assert bucket(made, "2026-07") == {"worked": 0, "billed": 0}


def test_an_approval_is_of_one_version_only():
    story = Story(terms=(terms("required"),))
    story.record("e-1", WORK)
    story.record("e-2", "2026-07-07T09:00-04:00/2026-07-07T10:00-04:00")
    story.approve("e-1")
    assert shown(story.draft("2026-07")) == ["2026-07 p-1 r-1 regular 3600 s 15.00"]
    assert held(story.draft("2026-07")) == ["2026-07 e-2 unapproved 3600"]
    story.amend("e-1", 1, "2026-07-06T09:00-04:00/2026-07-06T11:00-04:00")
    assert shown(story.draft("2026-07")) == []
    story.approve("e-1")
    assert shown(story.draft("2026-07")) == ["2026-07 p-1 r-1 regular 7200 s 30.00"]


def test_an_entry_over_two_months_needs_an_approval_when_one_of_them_asks_for_it():
    story = Story(terms=(terms("none"), terms("required", effective_month=month("2026-08"))))
    story.record("e-1", "2026-07-31T22:00-04:00/2026-08-01T02:00-04:00")
    story.record("e-2", "2026-07-30T22:00-04:00/2026-07-31T02:00-04:00")
    assert held(story.draft("2026-07")) == ["2026-07 e-1 unapproved 7200"]
    story.approve("e-1")
    assert held(story.draft("2026-07")) == []
