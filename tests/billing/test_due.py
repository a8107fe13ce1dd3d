"""Due: what stands billed, what takes its place, and what is taken back."""

from dataclasses import replace
from datetime import date

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

THREE_HOURS = "2026-07-06T09:00-04:00/2026-07-06T12:00-04:00"
HALF_LESS = "2026-07-06T09:00-04:00/2026-07-06T11:30-04:00"


def issued_july(policy="required"):
    """Three hours of July, approved and issued at 15.25."""
    story = Story(card=(a_rate("r-1", "15.25"),), terms=(terms(policy),))
    story.record("e-1", THREE_HOURS)
    story.approve("e-1")
    story.issue("2026-07")
    return story


def test_a_newer_version_changes_nothing_before_it_is_approved():
    story = issued_july()
    story.amend("e-1", 1, HALF_LESS)
    made = story.draft("2026-08")
    assert (made.outcome, shown(made), made.notices) == ("nothing_due", [], ())
    assert held(made) == ["2026-07 e-1 pending_change -1800"]
    assert bucket(made, "2026-07") == {"worked": 9000, "billed": 10800, "pending_change": -1800}
    assert bucket(made, "2026-07", if_issued=True) == bucket(made, "2026-07")


def test_an_approved_newer_version_takes_the_place_of_the_billed_one():
    story = issued_july()
    story.amend("e-1", 1, HALF_LESS)
    story.record("e-2", "2026-08-03 60")
    story.approve("e-1", "e-2")
    made = story.draft("2026-08")
    assert shown(made)[1:] == ["2026-07 p-1 r-1 adjustment -1800 s -7.62"]
    assert bucket(made, "2026-07") == {"worked": 9000, "billed": 10800, "pending_change": -1800}
    assert bucket(made, "2026-07", if_issued=True) == {"worked": 9000, "billed": 9000}
    old, new = sorted(made.lines[1].rows, key=lambda row: row.seconds)
    assert (old.seconds, new.seconds) == (-10800, 9000)
    assert (new.version, old.version != new.version) == (story.version("e-1"), True)


@pytest.mark.parametrize("way", ["void", "retract"])
def test_what_is_void_or_wholly_retracted_is_taken_back_at_once(way):
    story = issued_july()
    if way == "void":
        story.void("e-1", 1)
    else:
        story.retract("e-1", "e-1-0")
    made = story.draft("2026-08")
    assert (made.outcome, shown(made)) == (
        "carried",
        ["2026-07 p-1 r-1 adjustment -10800 s -45.75"],
    )
    assert held(made) == ["2026-07 e-1 pending_change -10800"]
    assert bucket(made, "2026-07") == {"worked": 0, "billed": 10800, "pending_change": -10800}
    assert made.buckets_if_issued == made.buckets


def test_a_negative_sum_is_carried_until_a_month_covers_it():
    story = issued_july()
    story.void("e-1", 1)
    assert story.settle("2026-08") is None
    story.record("e-2", "2026-09-01T09:00-04:00/2026-09-01T17:00-04:00")
    story.approve("e-2")
    made = story.draft("2026-09")
    assert shown(made) == [
        "2026-09 p-1 r-1 regular 28800 s 122.00",
        "2026-07 p-1 r-1 adjustment -10800 s -45.75",
    ]
    story.issue("2026-09")
    assert story.draft("2026-10").lines == ()


def test_a_void_that_is_retracted_brings_the_approved_version_back():
    story = issued_july()
    story.void("e-1", 1)
    story.record("e-2", "2026-08-03T09:00-04:00/2026-08-03T17:00-04:00")
    story.approve("e-2")
    story.issue("2026-08")
    story.retract("e-1", "e-1-1")
    assert shown(story.draft("2026-09")) == ["2026-07 p-1 r-1 adjustment 10800 s 45.75"]


def test_an_older_version_that_stands_again_is_due_again():
    story = issued_july()
    story.amend("e-1", 1, "2026-07-06T09:00-04:00/2026-07-06T13:00-04:00")
    story.approve("e-1")
    story.issue("2026-08")
    story.retract("e-1", "e-1-1")
    assert shown(story.draft("2026-09")) == ["2026-07 p-1 r-1 adjustment -3600 s -15.25"]


@pytest.mark.parametrize("policy", ["none", "required"])
def test_an_entry_that_is_open_again_keeps_what_is_billed(policy):
    story = Story(terms=(terms(policy),))
    story.start("e-1", "2026-07-06T09:00-04:00")
    story.stop("e-1", "2026-07-06T10:00-04:00")
    story.approve("e-1")
    story.issue("2026-07")
    story.retract("e-1", "e-1-1")
    story.approve("e-1")
    made = story.draft("2026-08")
    assert (shown(made), held(made)) == ([], ["2026-07 e-1 pending_change -3600"])
    assert [timer.entry_id for timer in made.open_timers] == ["e-1"]


def test_a_version_that_is_held_as_a_whole_takes_nothing_back():
    story = issued_july("none")
    story.amend("e-1", 1, HALF_LESS)
    story.other_spans = (
        OtherSpan("a-1", at("2026-07-06T09:30-04:00"), at("2026-07-06T09:40-04:00")),
    )
    made = story.draft("2026-08")
    assert (shown(made), held(made)) == ([], ["2026-07 e-1 pending_change -1800"])
    assert [tuple(notice)[:2] for notice in made.notices] == [("billed_overlap", "e-1")]


@pytest.mark.parametrize("mark", ["failed", "id_reused", "other_placement"])
def test_a_void_of_an_entry_that_is_in_question_takes_nothing_back_yet(mark):
    story = issued_july()
    story.void("e-1", 1)
    if mark == "other_placement":
        story.void("e-1", 2, placement_id="p-2")
    else:
        getattr(story, mark).add("e-1")
    assert shown(story.draft("2026-08")) == []


def test_an_entry_whose_fold_fails_stays_billed_and_is_listed():
    story = issued_july()
    story.failed.add("e-1")
    story.facts["e-1"] = []
    made = story.draft("2026-08")
    assert shown(made) == []
    assert held(made) == ["2026-07 e-1 pending_change -10800", "2026-08 e-1 failed 0"]
    assert bucket(made, "2026-07") == {"worked": 0, "billed": 10800, "pending_change": -10800}


def test_an_entry_that_two_placements_claim_is_held_until_one_takes_it_back():
    story = Story(placements={"p-1": a_placement(), "p-2": a_placement("p-2", "a-2")})
    story.record("e-1", THREE_HOURS)
    story.record("e-1", "2026-07-09 30", placement_id="p-2")
    made = story.draft("2026-07")
    assert (shown(made), held(made)) == ([], ["2026-07 e-1 other_placement 10800"])
    story.retract("e-1", "e-1-1")
    assert shown(story.draft("2026-07")) == ["2026-07 p-1 r-1 regular 10800 s 45.00"]


def test_what_overlaps_later_stays_billed_and_is_listed():
    story = issued_july()
    story.other_spans = (
        OtherSpan("a-1", at("2026-07-06T09:30-04:00"), at("2026-07-06T09:40-04:00")),
    )
    made = story.draft("2026-08")
    assert (shown(made), held(made)) == ([], [])
    assert bucket(made, "2026-07") == {"worked": 10800, "billed": 10800}
    assert [tuple(notice)[:2] for notice in made.notices] == [("billed_overlap", "e-1")]


def test_a_backdated_end_of_the_placement_takes_nothing_back():
    story = issued_july()
    story.placements["p-1"] = a_placement(ended_at=at("2026-07-06T10:00-04:00"))
    made = story.draft("2026-08")
    assert (shown(made), held(made)) == ([], [])
    assert bucket(made, "2026-07") == {"worked": 10800, "billed": 10800}
    assert [tuple(notice)[:2] for notice in made.notices] == [("billed_outside_placement", "e-1")]


def test_a_part_that_was_held_is_due_when_its_reason_is_gone():
    story = Story(placements={"p-1": a_placement(ended_at=at("2026-07-06T10:00-04:00"))})
    story.record("e-1", THREE_HOURS)
    story.issue("2026-07")
    assert held(story.draft("2026-08")) == ["2026-07 e-1 outside_placement 7200"]
    story.placements["p-1"] = a_placement()
    made = story.draft("2026-08")
    assert (shown(made), held(made)) == (["2026-07 p-1 r-1 adjustment 7200 s 30.00"], [])
    assert [row.seconds for row in made.lines[0].rows] == [7200]


def test_a_billed_entry_in_question_holds_only_what_is_not_billed_of_it():
    story = Story(placements={"p-1": a_placement(ended_at=at("2026-07-06T10:00-04:00"))})
    story.record("e-1", THREE_HOURS)
    story.issue("2026-07")
    story.id_reused.add("e-1")
    made = story.draft("2026-08")
    assert (shown(made), held(made)) == ([], ["2026-07 e-1 id_reused 7200"])
    assert bucket(made, "2026-07") == {"worked": 10800, "billed": 3600, "id_reused": 7200}


def test_a_newer_version_that_changes_no_seconds_makes_no_line():
    story = issued_july()
    story.amend("e-1", 1, THREE_HOURS, task_type="scheduling")
    assert bucket(story.draft("2026-08"), "2026-07") == {"worked": 10800, "billed": 10800}
    story.approve("e-1")
    made = story.draft("2026-08")
    assert (shown(made), held(made)) == ([], [])


OVER_MIDNIGHT = "2026-07-06T22:00-04:00/2026-07-07T02:00-04:00"
MIDNIGHT = at("2026-07-07T00:00-04:00")


@pytest.mark.parametrize(
    ("span", "due"),
    [
        (OVER_MIDNIGHT, []),
        ("2026-07-06T21:00-04:00/2026-07-07T02:00-04:00", ["-3600 s -15.25"]),
    ],
)
def test_a_newer_version_that_says_what_is_billed_is_not_judged_again(span, due):
    story = Story(card=(a_rate("r-1", "15.25"),))
    story.record("e-1", OVER_MIDNIGHT)
    story.issue("2026-07")
    story.amend("e-1", 1, span, note_ref="note-1")
    story.placements["p-1"] = a_placement(ended_at=MIDNIGHT)
    made = story.draft("2026-08")
    assert shown(made) == [f"2026-07 p-1 r-1 adjustment {one}" for one in due]
    assert held(made) == ([] if not due else ["2026-07 e-1 pending_change 3600"])
    listed = [tuple(notice)[:2] for notice in made.notices]
    assert listed == ([("billed_outside_placement", "e-1")] if not due else [])


@pytest.mark.parametrize(
    ("span", "due"),
    [
        ("2026-07-06T11:00-04:00/2026-07-06T13:00-04:00", ["-3600 s -15.25"]),
        ("2026-07-06T11:00-04:00/2026-07-06T12:59-04:00", ["-3600 s -15.25"]),
        ("2026-07-06T10:00-04:00/2026-07-06T12:00-04:00", []),
    ],
)
def test_of_a_date_that_is_billed_in_part_equal_seconds_are_not_taken_for_the_same(span, due):
    story = Story(card=(a_rate("r-1", "15.25"),))
    story.placements["p-1"] = a_placement(ended_at=at("2026-07-06T12:00-04:00"))
    story.record("e-1", "2026-07-06T10:00-04:00/2026-07-06T13:00-04:00")
    story.issue("2026-07")
    story.amend("e-1", 1, span)
    made = story.draft("2026-08")
    assert shown(made) == [f"2026-07 p-1 r-1 adjustment {one}" for one in due]


def test_what_a_newer_version_adds_to_what_is_billed_is_due_beside_it():
    story = Story(card=(a_rate("r-1", "15.25"),))
    story.record("e-1", "2026-07-06T22:00-04:00/2026-07-07T00:00-04:00")
    story.issue("2026-07")
    story.amend("e-1", 1, OVER_MIDNIGHT)
    story.other_days = {("a-1", date(2026, 7, 6)): 23 * 3600}
    made = story.draft("2026-08")
    assert (shown(made), held(made)) == (["2026-07 p-1 r-1 adjustment 7200 s 30.50"], [])
    assert sorted(row.seconds for row in made.lines[0].rows) == [-7200, 7200, 7200]


def test_work_that_became_unbillable_is_taken_back_once_approved():
    story = issued_july()
    story.record("e-2", "2026-08-03T09:00-04:00/2026-08-03T17:00-04:00")
    story.approve("e-2")
    story.amend("e-1", 1, THREE_HOURS, billable=False)
    made = story.draft("2026-08")
    assert shown(made) == ["2026-08 p-1 r-1 regular 28800 s 122.00"]
    assert bucket(made, "2026-07") == {
        "worked": 10800,
        "billed": 10800,
        "pending_change": -10800,
        "non_billable": 10800,
    }
    story.approve("e-1")
    made = story.draft("2026-08")
    assert shown(made)[1:] == ["2026-07 p-1 r-1 adjustment -10800 s -45.75"]
    assert bucket(made, "2026-07", if_issued=True) == {
        "worked": 10800,
        "billed": 0,
        "non_billable": 10800,
    }


def test_an_entry_moved_to_another_month_leaves_the_one_and_joins_the_other():
    story = issued_july("none")
    story.amend("e-1", 1, "2026-08-06T09:00-04:00/2026-08-06T12:00-04:00")
    assert shown(story.draft("2026-08")) == [
        "2026-08 p-1 r-1 regular 10800 s 45.75",
        "2026-07 p-1 r-1 adjustment -10800 s -45.75",
    ]
    assert story.draft("2026-08").outcome == "document"


def test_a_backdated_country_changes_nothing_that_is_issued_nor_the_months_late_work():
    story = Story(card=(a_rate("r-PH", "9.00", "PH"), a_rate("r-MX", "14.00", "MX")))
    story.record("e-1", THREE_HOURS)
    story.issue("2026-07")
    story.placements["p-1"] = replace(
        story.placements["p-1"], countries=timeline("PH", ("2026-07-01", "MX"))
    )
    story.record("e-2", "2026-07-07 60")
    story.record("e-3", "2026-08-03 60")
    assert shown(story.draft("2026-08")) == [
        "2026-08 p-1 r-MX regular 3600 s 14.00",
        "2026-07 p-1 r-PH adjustment 3600 s 9.00",
    ]


def test_late_work_is_priced_by_what_its_placement_was_on_its_date_as_pinned():
    moving = {
        "countries": timeline("PH", ("2026-07-10", "MX")),
        "roles": timeline("legal_assistant", ("2026-07-20", "paralegal")),
        "phases": timeline("trial", ("2026-07-25", "active")),
    }
    story = Story(
        placements={"p-1": a_placement(**moving)},
        card=(
            a_rate("r-PH", "8.00", "PH", phase="trial"),
            a_rate("r-MX", "9.00", "MX", phase="trial"),
            a_rate("r-MX-para", "10.00", "MX", "paralegal", phase="trial"),
            a_rate("r-MX-para-active", "11.00", "MX", "paralegal", phase="active"),
        ),
    )
    story.settle("2026-07")
    story.placements["p-1"] = a_placement()
    for day in (9, 10, 20, 25):
        story.record(f"e-{day}", f"2026-07-{day:02} 60")
    assert shown(story.draft("2026-08")) == [
        "2026-07 p-1 r-PH adjustment 3600 s 8.00",
        "2026-07 p-1 r-MX adjustment 3600 s 9.00",
        "2026-07 p-1 r-MX-para adjustment 3600 s 10.00",
        "2026-07 p-1 r-MX-para-active adjustment 3600 s 11.00",
    ]


@pytest.mark.parametrize(("pinned", "today"), [("trial", "active"), ("active", "trial")])
def test_a_backdated_phase_excludes_no_work_of_a_settled_month_and_brings_none_in(pinned, today):
    story = Story(terms=(terms(excluded_phases=frozenset({"trial"})),))
    story.placements["p-1"] = a_placement(phases=timeline(pinned))
    story.settle("2026-07")
    story.placements["p-1"] = a_placement(phases=timeline(today))
    story.record("e-1", "2026-07-07 60")
    story.record("e-2", "2026-08-03 120")
    july, august = (
        f"{service_month} p-1 r-1 {kind} {seconds} s {amount}"
        for service_month, kind, seconds, amount in (
            ("2026-07", "adjustment", 3600, "15.00"),
            ("2026-08", "regular", 7200, "30.00"),
        )
    )
    assert shown(story.draft("2026-08")) == [july if pinned == "active" else august]


def test_what_the_pinned_card_did_not_price_is_priced_from_todays_and_keeps_that_stamp():
    story = Story(card=(a_rate("r-PH", "9.00", "PH"),))
    story.placements["p-2"] = a_placement("p-2", "a-2", "IN")
    story.record("e-1", THREE_HOURS)
    assert story.settle("2026-07") is not None
    story.record("e-2", "2026-07-07 60", placement_id="p-2")
    assert [b.code for b in story.draft("2026-08").blocked] == ["unrated"]
    story.card += (a_rate("r-IN", "8.00", "IN"),)
    assert shown(story.draft("2026-08")) == ["2026-07 p-2 r-IN adjustment 3600 s 8.00"]
    story.issue("2026-08")
    story.card = (a_rate("r-PH", "9.00", "PH"), a_rate("r-IN-corrected", "8.50", "IN"))
    assert story.draft("2026-09").lines == ()
    story.amend("e-2", 1, "2026-07-07 90", placement_id="p-2")
    assert shown(story.draft("2026-09")) == ["2026-07 p-2 r-IN adjustment 1800 s 4.00"]


def test_months_before_the_first_settled_one_are_priced_by_its_pins():
    story = Story(card=(a_rate("r-PH", "9.00", "PH"),))
    story.record("e-1", THREE_HOURS)
    story.issue("2026-07")
    story.card = (a_rate("r-PH-corrected", "9.50", "PH"),)
    story.terms = (terms(minutes=15, version=2, effective_month=month("2026-06")),)
    story.settle("2026-08")
    story.record("e-2", "2026-06-10 61")
    assert shown(story.draft("2026-09")) == ["2026-06 p-1 r-PH adjustment 3660 s 9.15"]
