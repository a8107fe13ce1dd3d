"""Figures from tasks made by hand: who belongs to a cohort, what counts, and in which clock."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.directory import Calendar, Timeline
from schemas.directory_events import Slot
from schemas.periods import local_date
from services.metrics.calendars import firm_clock
from services.metrics.catalogue import DEFINITIONS, choose
from services.metrics.cohorts import OpenEntry, Timing, Window, Work, Worked, days_of
from services.metrics.figures import Measured, Question, answer, count_figures, windows
from services.metrics.records import Escalation, Placed, PlacedEscalation
from services.metrics.turnaround import elapsed_seconds, pauses
from tests.metrics.stories import minute, seen, task_of

ZONE = "America/New_York"
PLACE = Placed("plc-1", True, "asst-1", "legal_assistant", "PH", "active", "document_prep")
JULY = Window(date(2026, 7, 1), date(2026, 8, 1))
AUGUST = datetime(2026, 8, 15, tzinfo=UTC)
OFFICE = firm_clock(
    Timeline(
        (
            (
                date.min,
                Calendar(
                    ZONE,
                    tuple(Slot(weekday=day, start="09:00", minutes=480) for day in range(1, 6)),
                    (),
                    (),
                    "office-1",
                ),
            ),
        )
    )
)
HOUR = 60
# Noon UTC on Wednesday, 1 July is eight in New York: the office opens an hour later.


def placed(*lines, place=PLACE, task_id="t"):
    return seen(task_of(*lines, task_id=task_id), place)


def work_of(*tasks, business=OFFICE, as_of=AUGUST, **more):
    return Work(zone=ZONE, as_of=as_of, business=business, tasks=tasks, **more)


def ask(work, *metrics, span=JULY, **more):
    question = Question(choose(metrics), span, **more)
    return {(figure.metric, figure.clock): figure for figure in answer(work, question)}


@pytest.mark.parametrize(
    ("lines", "wall", "business"),
    [
        ([(2 * HOUR, "submitted")], 120, 60),
        ([(30, "submitted")], 30, 0),
        (
            [(HOUR, "held"), (2 * HOUR, "resumed"), (3 * HOUR, "submitted")],
            120,
            60,
        ),
        # a hold before the office opens stops the wall's clock only
        ([(0, "held"), (HOUR, "resumed"), (3 * HOUR, "submitted")], 120, 120),
        # the agency's own waiting stops none
        (
            [
                (HOUR, "held", {"reason": "waiting_on_agency"}),
                (2 * HOUR, "resumed", {"reason": "waiting_on_agency"}),
                (3 * HOUR, "submitted"),
            ],
            180,
            120,
        ),
        # two holds at once are one wait
        (
            [
                (HOUR, "held", {"hold_id": "a"}),
                (HOUR + 30, "held", {"hold_id": "b", "reason": "waiting_on_firm"}),
                (2 * HOUR, "resumed", {"hold_id": "a"}),
                (2 * HOUR + 30, "resumed", {"hold_id": "b"}),
                (3 * HOUR, "submitted"),
            ],
            90,
            30,
        ),
        # a blocking escalation pauses from raised to resolved, another one does not
        (
            [
                (HOUR, "raised", {"blocking": True}),
                (2 * HOUR, "resolved"),
                (2 * HOUR, "raised", {"escalation_id": "y"}),
                (3 * HOUR, "submitted"),
            ],
            120,
            60,
        ),
        # what is never resumed ends with the submission
        ([(HOUR, "held"), (3 * HOUR, "submitted")], 60, 0),
        # the first submission counts, whatever came later
        ([(2 * HOUR, "submitted"), (5 * HOUR, "submitted", {"attempt": 2})], 120, 60),
        # and the first in time, whatever its number
        ([(2 * HOUR, "submitted", {"attempt": 2}), (5 * HOUR, "submitted")], 120, 60),
    ],
)
def test_turnaround_net_of_pauses_in_both_clocks(lines, wall, business):
    found = ask(work_of(placed((0, "requested"), *lines)), "turnaround")
    assert {key[1]: figure.values for key, figure in found.items()} == {
        "wall": (wall * 60,),
        "firm_business": (business * 60,),
    }


def test_gross_turnaround_has_the_waits_in_it():
    task = placed((0, "requested"), (HOUR, "held"), (3 * HOUR, "submitted"))
    found = ask(work_of(task), "turnaround", net=False)
    assert [figure.values for figure in found.values()] == [(3 * 3_600,), (2 * 3_600,)]
    assert {figure.net for figure in found.values()} == {False}


def test_wall_time_stands_beside_business_time_whatever_is_asked():
    work = work_of(placed((0, "requested"), (30, "submitted")))
    found = ask(work, "turnaround", clocks=("firm_business",))
    assert [(key[1], figure.share_zero) for key, figure in found.items()] == [
        ("wall", 0.0),
        ("firm_business", 1.0),
    ]
    assert found["turnaround", "firm_business"].calendar_version == "office-1"
    assert found["turnaround", "wall"].calendar_version is None


@pytest.mark.parametrize(
    ("days", "names"),
    [((0, 20), "office-1,office-2"), ((0,), "office-1"), ((20,), "office-2"), ((), "office-1")],
)
def test_a_figure_names_the_calendars_that_its_tasks_were_counted_in(days, names):
    assert OFFICE is not None
    old = OFFICE.versions[0]
    office = replace(OFFICE, versions=(old, replace(old, since=date(2026, 7, 15), name="office-2")))
    starts = [day * 24 * HOUR for day in days]
    tasks = [placed((start, "requested"), (start + 30, "submitted")) for start in starts]
    span = JULY if days else Window(date(2026, 7, 1), date(2026, 7, 15))
    found = ask(work_of(*tasks, business=office), "turnaround", span=span)
    assert found["turnaround", "firm_business"].calendar_version == names


def test_without_a_calendar_business_time_is_left_out_and_counted():
    task = placed((0, "requested"), (30, "submitted"))
    found = ask(work_of(task, business=None), "turnaround")
    business = found["turnaround", "firm_business"]
    assert (business.n, business.value, business.excluded, business.calendar_version) == (
        0,
        None,
        {"no_calendar": 1},
        None,
    )
    assert found["turnaround", "wall"].n == 1
    gone = placed((0, "requested"), (30, "submitted"), (31, "cancelled"))
    found = ask(work_of(task, gone, business=None), "turnaround")
    assert found["turnaround", "firm_business"].excluded == {"cancelled": 1, "no_calendar": 1}


def test_business_time_of_many_tasks_is_that_of_each():
    starts = [day * 24 * HOUR for day in (0, 1, 6)]
    tasks = [placed((start, "requested"), (start + 2 * HOUR, "submitted")) for start in starts]
    found = ask(work_of(*tasks), "turnaround")["turnaround", "firm_business"]
    assert found.values == (3_600, 3_600, 3_600)


def test_what_is_handed_in_at_once_took_no_time():
    found = ask(work_of(placed((5, "requested"), (5, "submitted"))), "turnaround")
    assert [(figure.values, figure.excluded) for figure in found.values()] == [((0,), {})] * 2


def test_a_task_that_was_cancelled_later_is_left_out_of_the_window_of_its_submission():
    task = placed((0, "requested"), (5, "submitted"), (40 * 24 * HOUR, "cancelled"))
    august = Window(date(2026, 8, 1), date(2026, 9, 1))
    found = [ask(work_of(task), "turnaround", span=span) for span in (JULY, august)]
    assert [one["turnaround", "wall"].excluded for one in found] == [{"cancelled": 1}, {}]


def test_what_is_left_out_of_turnaround_is_counted_by_reason():
    tasks = [
        placed((0, "requested"), (5, "cancelled")),
        placed((0, "requested"), (5, "submitted"), (6, "cancelled")),
        placed((5, "submitted")),
        placed((9, "requested"), (5, "submitted")),
        placed((0, "requested")),
        placed((0, "requested"), (5, "submitted")),
    ]
    found = ask(work_of(*tasks), "turnaround")["turnaround", "wall"]
    assert (found.n, found.excluded) == (
        1,
        {"cancelled": 2, "request_missing": 1, "submitted_before_request": 1},
    )


def test_a_cancelled_task_that_is_reopened_counts_again():
    task = placed((0, "requested"), (5, "cancelled"), (6, "reopened"), (9, "submitted"))
    found = ask(work_of(task), "turnaround")["turnaround", "wall"]
    assert (found.values, found.excluded) == ((540,), {})


def test_five_values_have_a_median_and_ten_a_90th_percentile():
    def figure(count):
        tasks = [placed((0, "requested"), (n + 1, "submitted")) for n in range(count)]
        return ask(work_of(*tasks), "turnaround", percentiles=(50, 90, 95))["turnaround", "wall"]

    few, five, ten = figure(4), figure(5), figure(10)
    assert (few.value, few.values, few.insufficient) == (None, (60, 120, 180, 240), True)
    assert few.percentiles == {"50": None, "90": None, "95": None}
    assert (five.value, five.values, five.insufficient) == (180, None, False)
    assert ten.percentiles == {"50": 330, "90": 546, "95": None}


def test_slack_is_what_the_due_date_left():
    tasks = [
        placed((0, "requested", {"due_at": minute(90)}), (30, "submitted")),
        placed((0, "requested", {"due_at": minute(20)}), (30, "submitted")),
        placed((0, "requested"), (30, "submitted")),
        placed((0, "requested", {"due_at": minute(20)}), (30, "submitted"), (31, "cancelled")),
        placed((0, "requested"), (30, "submitted"), (31, "cancelled")),
    ]
    found = ask(work_of(*tasks), "slack")["slack", None]
    assert (found.net, found.share_zero) == (None, 0.0)
    assert (found.values, found.excluded) == (
        (-600, 3_600),
        {"cancelled": 2, "no_due_date": 1},
    )


FIRST_PASS = [
    ("accepted", [(1, "submitted"), (2, "reviewed")], True),
    (
        "with corrections is not first pass",
        [(1, "submitted"), (2, "reviewed", {"outcome": "accepted_with_corrections"})],
        False,
    ),
    (
        "accepted at the second attempt",
        [
            (1, "submitted"),
            (2, "reviewed", {"outcome": "changes_requested"}),
            (3, "submitted", {"attempt": 2}),
            (4, "reviewed", {"attempt": 2}),
        ],
        False,
    ),
    (
        "the lowest reviewed attempt decides, though it was reviewed last",
        [
            (1, "submitted"),
            (2, "submitted", {"attempt": 2}),
            (3, "reviewed", {"attempt": 2}),
            (4, "reviewed", {"outcome": "rejected", "review_mode": "qa_sample"}),
        ],
        False,
    ),
    (
        "the first of two reviews of an attempt",
        [(1, "submitted"), (2, "reviewed"), (3, "reviewed", {"outcome": "rejected"})],
        True,
    ),
    ("a timeout is no review", [(1, "submitted"), (2, "timeout")], None),
    (
        "a person after the timeout decides",
        [(1, "submitted"), (2, "timeout"), (3, "reviewed", {"outcome": "rejected"})],
        False,
    ),
    (
        "an unreviewed first attempt is passed over",
        [
            (1, "submitted"),
            (2, "submitted", {"attempt": 2}),
            (3, "reviewed", {"attempt": 2}),
        ],
        True,
    ),
]


@pytest.mark.parametrize(("name", "lines", "hit"), FIRST_PASS, ids=[f[0] for f in FIRST_PASS])
def test_first_pass(name, lines, hit):
    found = ask(work_of(placed((0, "requested"), *lines)), "first_pass_acceptance")
    figure = found["first_pass_acceptance", None]
    coverage = found["review_coverage", None]
    if hit is None:
        assert (figure.n, figure.value, figure.excluded) == (0, None, {"auto_timeout": 1})
        assert (coverage.numerator, coverage.denominator) == (0, 1)
    else:
        assert (figure.numerator, figure.denominator, figure.excluded) == (int(hit), 1, {})
        assert (coverage.numerator, coverage.denominator) == (1, 1)


def test_coverage_belongs_to_the_window_of_the_submission_and_acceptance_to_the_reviews():
    day = 24 * HOUR
    task = placed((0, "requested"), (1, "submitted"), (40 * day, "reviewed"))
    august = Window(date(2026, 8, 1), date(2026, 9, 1))
    july = ask(work_of(task), "first_pass_acceptance")
    later = ask(work_of(task), "first_pass_acceptance", span=august)
    assert [figure.n for figure in july.values()] == [0, 1]
    assert [figure.n for figure in later.values()] == [1, 0]
    assert july["review_coverage", None].value == 1.0


def test_cancelled_tasks_leave_quality():
    task = placed((0, "requested"), (1, "submitted"), (2, "reviewed"), (3, "reopened"))
    gone = placed(
        (0, "requested"), (1, "submitted"), (2, "reviewed"), (3, "reopened"), (4, "cancelled")
    )
    found = ask(work_of(task, gone), "first_pass_acceptance", "escalation_rate")
    assert {metric: (figure.n, figure.excluded) for (metric, _), figure in found.items()} == {
        "first_pass_acceptance": (1, {"cancelled": 1}),
        "review_coverage": (1, {"cancelled": 1}),
        "escalation_rate": (1, {"cancelled": 1}),
    }


def test_a_cancelled_task_that_nobody_reviewed_is_left_out_as_cancelled():
    gone = placed(
        (0, "requested"), (1, "submitted"), (2, "timeout"), (3, "reopened"), (4, "cancelled")
    )
    found = ask(work_of(gone), "first_pass_acceptance")
    assert found["first_pass_acceptance", None].excluded == {"cancelled": 1}


def test_escalation_rate_is_of_tasks_started_or_submitted():
    loose = PlacedEscalation(
        "firm-1",
        "x-9",
        PLACE,
        (Escalation("x-9", "access", False, minute(5), None, None, None, None, None),),
        (),
    )
    tasks = [
        placed(
            (0, "requested"), (1, "started"), (2, "raised"), (3, "raised", {"escalation_id": "y"})
        ),
        placed((0, "requested"), (1, "submitted")),
        placed((0, "requested"), (1, "started"), (2, "raised")),
        placed((0, "requested"), (1, "raised")),
    ]
    found = ask(work_of(*tasks, escalations=(loose,)), "escalation_rate")["escalation_rate", None]
    assert (found.numerator, found.denominator, found.excluded) == (2, 3, {"about_no_task": 1})


def test_throughput_counts_the_acceptance_that_stands():
    done = [(0, "requested"), (1, "submitted"), (2, "reviewed")]
    day = 24 * HOUR
    again = [(3, "reopened"), (4, "submitted", {"attempt": 2})]
    tasks = [
        placed(*done),
        placed((0, "requested"), (1, "submitted"), (2, "timeout")),
        placed(*done, (3, "reopened")),
        placed(*done, *again, (40 * day, "reviewed", {"attempt": 2})),
        placed((0, "requested"), (1, "submitted"), (2, "reviewed", {"outcome": "rejected"})),
    ]
    found = ask(work_of(*tasks), "throughput")["throughput", None]
    assert (found.value, found.n) == (2, 2)


@pytest.mark.parametrize(
    ("instant", "overdue"),
    [
        ("2026-07-01T12:59:59", 0),
        ("2026-07-01T13:00:00", 1),
        ("2026-07-01T14:59:59", 1),
        ("2026-07-01T15:00:00", 0),  # submitted: it waits for the firm now
        ("2026-07-01T16:00:00", 1),  # changes requested
        ("2026-07-01T18:00:00", 0),  # accepted
    ],
)
def test_overdue_is_rebuilt_for_any_instant(instant, overdue):
    task = placed(
        (0, "requested", {"due_at": minute(HOUR)}),
        (3 * HOUR, "submitted"),
        (4 * HOUR, "reviewed", {"outcome": "changes_requested"}),
        (5 * HOUR, "submitted", {"attempt": 2}),
        (6 * HOUR, "reviewed", {"attempt": 2}),
    )
    as_of = datetime.fromisoformat(instant).replace(tzinfo=UTC)
    found = ask(work_of(task, as_of=as_of), "open_overdue")["open_overdue", None]
    assert found.value == overdue


def test_stock_is_counted_at_the_end_of_each_window_and_not_before_it_begins():
    task = placed((0, "requested", {"due_at": minute(HOUR)}), (72 * HOUR, "submitted"))
    vague = placed((0, "requested"))
    question = Question(
        choose(["open_overdue"]),
        Window(date(2026, 6, 30), date(2026, 7, 6)),
        granularity="day",
    )
    found = answer(work_of(task, vague, as_of=minute(4 * 24 * HOUR)), question)
    assert [(figure.from_date.day, figure.value, figure.excluded) for figure in found] == [
        (30, 0, {}),
        (1, 1, {"no_due_date": 1}),
        (2, 1, {"no_due_date": 1}),
        (3, 1, {"no_due_date": 1}),
        (4, 0, {"no_due_date": 1}),
        (5, 0, {"no_due_date": 1}),
    ]
    begins = work_of(task, as_of=minute(16 * HOUR))
    span = Window(date(2026, 7, 2), date(2026, 7, 3))
    assert ask(begins, "open_overdue", span=span)["open_overdue", None].value == 1
    ahead = Question(choose(["open_overdue"]), Window(date(2026, 9, 1), date(2026, 9, 2)))
    assert [figure.excluded for figure in answer(work_of(task, vague), ahead)] == [{}]


def test_what_was_due_after_a_window_was_not_overdue_at_its_end():
    task = placed((0, "requested", {"due_at": minute(48 * HOUR)}))
    span = Window(date(2026, 7, 1), date(2026, 7, 5))
    found = answer(work_of(task), Question(choose(["open_overdue"]), span, granularity="day"))
    assert [figure.value for figure in found] == [0, 0, 1, 1]


def test_what_is_left_out_measures_nothing():
    task = placed((0, "requested", {"due_at": minute(9)}), (5, "submitted"), (6, "cancelled"))
    for name in ("slack", "turnaround", "review_coverage"):
        (member,) = DEFINITIONS[name].measure(work_of(task), JULY, Timing())
        assert (member.excluded, member.seconds, member.hit, member.span) == (
            "cancelled",
            None,
            None,
            None,
        )


def test_the_end_of_a_window_belongs_to_the_next():
    """Submitted at midnight, sharp: the evening before it was still open."""
    task = placed((0, "requested", {"due_at": minute(1)}), (16 * HOUR, "submitted"))
    span = Window(date(2026, 7, 1), date(2026, 7, 3))
    found = answer(work_of(task), Question(choose(["open_overdue"]), span, granularity="day"))
    assert [figure.value for figure in found] == [1, 0]


def part(day, seconds, *, entry_id="e-1", service_date=None, **place):
    here = replace(PLACE, **({"task_type": "intake"} | place))
    day = service_date or date(2026, 7, day)
    return Worked(entry_id, here, day, minute(0), seconds)


def test_hours_add_up_parts_and_count_entries():
    work = work_of(
        worked=(
            part(1, 600),
            part(1, 999, service_date=date(2026, 6, 30)),
            part(1, 999, service_date=date(2026, 8, 1)),
            part(2, 300),
            part(2, 60, entry_id="e-2", task_type="scheduling"),
            part(2, 7, entry_id="e-3", phase=None, is_known=False),
            part(2, 5, entry_id="e-4"),
        ),
        open_entries=(OpenEntry("e-5", minute(0), PLACE),),
    )
    found = answer(work, Question(choose(["hours_by_task_type"]), JULY, phases=None))
    assert [
        (f.metric, f.phase, f.group.get("task_type"), f.value, f.n, f.excluded) for f in found
    ] == [
        ("hours_by_task_type", "active", "document_prep", None, 0, {"open": 1}),
        ("hours_by_task_type", "active", "intake", 905, 2, {}),
        ("hours_by_task_type", "active", "scheduling", 60, 1, {}),
        ("hours_by_task_type", "unknown", "intake", 7, 1, {}),
        ("hours", "active", None, 965, 3, {"open": 1}),
        ("hours", "shadow", None, None, 0, {}),
        ("hours", "trial", None, None, 0, {}),
        ("hours", "unknown", None, 7, 1, {}),
    ]


@pytest.mark.parametrize(
    ("at", "counted"),
    [
        ("2026-07-01T03:59:59", {}),
        ("2026-07-01T04:00:00", {"open": 1}),
        ("2026-08-01T03:59:59", {"open": 1}),
        ("2026-08-01T04:00:00", {}),
    ],
)
def test_a_running_timer_belongs_to_the_firms_date_of_its_start(at, counted):
    timer = OpenEntry("e-1", datetime.fromisoformat(at).replace(tzinfo=UTC), PLACE)
    assert ask(work_of(open_entries=(timer,)), "hours")["hours", None].excluded == counted


def test_windows_are_half_open_in_the_firms_zone():
    """Midnight in New York is four in the morning, UTC."""
    day = 24 * HOUR
    for at, expected in ((16 * HOUR - 1, [1, 0]), (16 * HOUR, [0, 1])):
        task = placed((0, "requested"), (at, "submitted"))
        question = Question(
            choose(["review_coverage"]),
            Window(date(2026, 7, 1), date(2026, 7, 3)),
            granularity="day",
        )
        assert [figure.n for figure in answer(work_of(task), question)] == expected
        second = ask(
            work_of(task), "review_coverage", span=Window(date(2026, 7, 2), question.span[1])
        )
        assert second["review_coverage", None].n == expected[1]
    outside = placed((0, "requested"), (day + 16 * HOUR, "submitted"))
    assert [figure.n for figure in answer(work_of(outside), question)] == [0, 0]


def test_spans_are_cut_into_iso_weeks_and_months():
    span = Window(date(2026, 7, 1), date(2026, 8, 5))
    assert [(w.from_date.isoformat(), w.to_date.isoformat()) for w in windows(span, "week")] == [
        ("2026-07-01", "2026-07-06"),
        ("2026-07-06", "2026-07-13"),
        ("2026-07-13", "2026-07-20"),
        ("2026-07-20", "2026-07-27"),
        ("2026-07-27", "2026-08-03"),
        ("2026-08-03", "2026-08-05"),
    ]
    assert windows(span, "month") == (
        Window(date(2026, 7, 1), date(2026, 8, 1)),
        Window(date(2026, 8, 1), date(2026, 8, 5)),
    )
    assert windows(span, "all") == (span,)
    assert len(windows(span, "day")) == 35


def test_every_group_is_of_one_phase():
    other = replace(PLACE, placement_id="plc-2", phase="trial", country="MX")
    tasks = [
        placed((0, "requested"), (10, "submitted")),
        placed((0, "requested"), (20, "submitted"), place=other),
        placed((0, "requested"), (30, "submitted"), place=replace(other, phase="active")),
    ]
    question = Question(
        choose(["turnaround"]),
        JULY,
        group_by=("placement", "country"),
        clocks=("wall",),
        phases=None,
    )
    assert [(f.phase, dict(f.group), f.values) for f in answer(work_of(*tasks), question)] == [
        ("active", {"placement": "plc-1", "country": "PH"}, (600,)),
        ("active", {"placement": "plc-2", "country": "MX"}, (1_800,)),
        ("trial", {"placement": "plc-2", "country": "MX"}, (1_200,)),
    ]
    question = replace(question, group_by=("assistant", "task_type"), phases=("trial",))
    assert [dict(f.group) for f in answer(work_of(*tasks), question)] == [
        {"assistant": "asst-1", "task_type": "document_prep"}
    ]


def test_groups_stand_by_their_names_and_what_has_none_comes_last():
    tasks = [
        placed((0, "requested"), (10, "submitted"), place=replace(PLACE, task_type=kind))
        for kind in (None, "intake", "document_prep")
    ]
    found = answer(work_of(*tasks), Question(choose(["slack"]), JULY, group_by=("task_type",)))
    assert [figure.group["task_type"] for figure in found] == ["document_prep", "intake", None]


def test_only_the_phases_asked_for_are_answered():
    trial = placed((0, "requested"), (20, "submitted"), place=replace(PLACE, phase="trial"))
    found = answer(work_of(trial), Question(choose(["slack"]), JULY))
    assert [(figure.phase, figure.excluded) for figure in found] == [("active", {})]
    named = answer(work_of(trial), Question(choose(["slack"]), JULY, phases=("trial",)))
    assert [(figure.phase, figure.excluded) for figure in named] == [("trial", {"no_due_date": 1})]


def test_figures_are_counted_before_they_are_made():
    lines = (0, "requested"), (30, "submitted", {"attempt": 1}), (60, "reviewed")
    tasks = [
        placed(*lines, place=replace(PLACE, task_type=kind, phase=phase), task_id=kind + phase)
        for kind in ("intake", "document_prep")
        for phase in ("active", "trial")
    ]
    work = work_of(*tasks, worked=[part(1, 60)])
    names = "turnaround", "first_pass_acceptance", "throughput", "hours_by_task_type"
    for group_by in ((), ("task_type",), ("task_type", "phase")):
        for phases in (None, ("active",)):
            question = Question(choose(names), JULY, "day", group_by=group_by, phases=phases)
            assert count_figures(work, question) == len(answer(work, question))


def test_groups_of_open_timers_and_of_loose_escalations_are_counted_too():
    other = replace(PLACE, task_type="scheduling", placement_id="plc-2")
    told = Escalation("x-9", "access", False, minute(5), None, None, None, None, None)
    work = work_of(
        placed((0, "requested"), (30, "submitted")),
        worked=(part(1, 60),),
        open_entries=(OpenEntry("e-5", minute(0), other),),
        escalations=(PlacedEscalation("firm-1", "x-9", other, (told,), ()),),
    )
    for name in ("hours_by_task_type", "escalation_rate"):
        question = Question(choose([name])[:1], JULY, group_by=("placement",))
        assert count_figures(work, question) == len(answer(work, question)) == 2


def test_pauses_never_reach_outside_the_stretch_they_are_asked_for():
    task = placed((0, "held"), (50, "resumed"), (60, "held"))
    found = pauses(task, minute(10), minute(70))
    assert [(pause.start, pause.end) for pause in found] == [
        (minute(10), minute(50)),
        (minute(60), minute(70)),
    ]
    assert pauses(task, minute(10), minute(40)) == ((minute(10), minute(40)),)
    assert elapsed_seconds(task, minute(10), minute(40), None, net=True) == 0


def test_every_definition_speaks_for_itself():
    for name, definition in DEFINITIONS.items():
        assert definition.metric == name
        assert definition.formula.endswith(".")
        assert definition.edges.endswith(".")
        assert set(definition.beside) <= set(DEFINITIONS)


LINES = st.lists(
    st.tuples(
        st.integers(0, 3_000),
        st.sampled_from(["held", "resumed", "raised", "resolved", "submitted", "started"]),
    ),
    max_size=8,
)


@given(LINES, st.booleans())
def test_net_time_is_never_negative_nor_longer_than_gross(lines, blocking):
    told = [(at, word, {"blocking": blocking} if word == "raised" else {}) for at, word in lines]
    task = placed((0, "requested"), *told)
    for business in (None, OFFICE):
        net, gross = (
            elapsed_seconds(task, minute(0), minute(3_000), business, net=net)
            for net in (True, False)
        )
        assert 0 <= net <= gross


@given(
    st.sampled_from([ZONE, "Pacific/Apia", "America/Sao_Paulo", "America/Havana", "Asia/Manila"]),
    st.integers(0, 43 * 86_400),
)
def test_a_date_that_is_looked_up_is_the_one_that_the_zone_tells(zone, seconds):
    """Samoa had no 30 December 2011, and the summers of São Paulo and Havana begin at midnight."""
    instant = datetime(2011, 12, 20, tzinfo=UTC) + timedelta(seconds=seconds)
    day = local_date(instant, zone)
    span = Window(date(2011, 12, 25), date(2012, 1, 20))
    assert days_of(span, zone).day_of(instant) == (day if span.holds(day) else None)


@given(st.lists(st.tuples(st.integers(-60, 60), LINES), max_size=6))
def test_what_was_measured_for_more_weeks_says_the_same_of_one(stories):
    day = 24 * HOUR
    tasks = [
        placed(
            (start * day, "requested", {"due_at": minute(start * day + 500)}),
            *((start * day + at, word) for at, word in lines),
        )
        for start, lines in stories
    ]
    work = work_of(*tasks, worked=(part(2, 300), part(30, 60)))
    week = Window(date(2026, 6, 29), date(2026, 7, 6))
    question = Question(tuple(DEFINITIONS.values()), week, group_by=("task_type",), phases=None)
    measured = Measured(work, Window(date(2026, 6, 8), date(2026, 7, 6)))
    assert answer(work, question, measured) == answer(work, question)
