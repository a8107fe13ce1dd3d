"""A firm's week: a card for each placement and phase, the firm's own, and what should be seen."""

from dataclasses import replace
from datetime import UTC, date, datetime

from schemas.directory import Directory, fold_placement
from schemas.periods import Week
from services.metrics.cohorts import Window, Work
from services.metrics.records import Placed
from services.metrics.scorecards import METRICS, make_scorecard, pooled_span
from tests.metrics.stories import seen, task_of
from tests.schemas.histories import History, placement_facts

WEEK = Week(2026, 27)  # 29 June to 5 July
PLACE = Placed("plc-1", True, "asst-1", "legal_assistant", "PH", "active", "document_prep")
DAY = 24 * 60
AUGUST = datetime(2026, 8, 15, tzinfo=UTC)


def placement(placement_id="plc-1", *changes, started_at="2026-01-01T00:00:00Z"):
    history = History()
    placement_facts(history, started_at, placement_id=placement_id)
    for name, data in changes:
        history.add(name, "2026-06-01", placement_id=placement_id, **data)
    found = fold_placement(history.facts)
    assert found is not None
    return found


def submitted(minutes, *, at=0, place=PLACE, **request):
    story = [(at, "requested", {"workflow_ref": "wf"} | request), (at + minutes, "submitted")]
    return seen(task_of(*story), place)


def card_of(*tasks, placements=()):
    directory = Directory(None, {one.placement_id: one for one in placements})
    return make_scorecard(Work("America/New_York", AUGUST, None, tasks), directory, WEEK)


def brief(card):
    return [
        (row.placement_id, row.phase, {f.metric: f.n for f in row.figures if f.clock == "wall"})
        for row in (*card.firm, *card.placements)
    ]


def test_a_week_runs_from_monday_to_monday_and_reads_three_more():
    assert pooled_span(WEEK) == Window(date(2026, 6, 8), date(2026, 7, 6))
    card = card_of()
    assert (card.week, card.from_date, card.to_date) == (
        "2026-W27",
        date(2026, 6, 29),
        date(2026, 7, 6),
    )


def test_each_placement_and_phase_has_a_card_and_the_firm_one_a_phase():
    trial = replace(PLACE, placement_id="plc-2", phase="trial")
    unknown = Placed("plc-9", False, None, None, None, None, None)
    card = card_of(
        submitted(5),
        submitted(6),
        submitted(7, place=trial),
        submitted(8, place=unknown),
        placements=[placement()],
    )
    assert brief(card) == [
        (None, "active", {"turnaround": 2}),
        (None, "shadow", {"turnaround": 0}),
        (None, "trial", {"turnaround": 1}),
        (None, "unknown", {"turnaround": 1}),
        ("plc-1", "active", {"turnaround": 2}),
        ("plc-2", "trial", {"turnaround": 1}),
        ("plc-9", "unknown", {"turnaround": 1}),
    ]


def test_every_card_has_every_figure_in_one_order():
    card = card_of(submitted(5), placements=[placement(), placement("plc-2")])
    names = [
        (metric, clock)
        for metric in METRICS
        for clock in (("wall", "firm_business") if metric == "turnaround" else (None,))
    ]
    for row in (*card.firm, *card.placements):
        assert [(figure.metric, figure.clock) for figure in row.figures] == names
        assert {figure.phase for figure in row.figures} == {row.phase}
        assert {figure.group.get("placement") for figure in row.figures} == {row.placement_id}


def test_a_placement_that_changed_its_phase_in_the_week_has_two_cards():
    changed = placement(
        "plc-1", ("placement.phase_changed", {"phase": "shadow", "effective_date": "2026-07-02"})
    )
    later = placement(
        "plc-2", ("placement.phase_changed", {"phase": "shadow", "effective_date": "2026-07-06"})
    )
    rows = card_of(placements=[changed, later]).placements
    assert [(row.placement_id, row.phase) for row in rows] == [
        ("plc-1", "active"),
        ("plc-1", "shadow"),
        ("plc-2", "active"),
    ]


def test_a_placement_that_is_over_or_has_not_begun_has_no_card():
    over = placement("plc-1", ("placement.ended", {"ended_at": "2026-06-28T12:00:00Z"}))
    ahead = placement("plc-2", started_at="2026-07-06T12:00:00Z")
    last_day = placement("plc-3", ("placement.ended", {"ended_at": "2026-06-29T12:00:00Z"}))
    first_day = placement("plc-4", started_at="2026-07-05T12:00:00Z")
    midnight = placement("plc-5", ("placement.ended", {"ended_at": "2026-06-29T04:00:00Z"}))
    last_second = placement("plc-6", started_at="2026-07-06T03:59:59Z")
    next_week = placement("plc-7", started_at="2026-07-06T04:00:00Z")
    employed = [over, ahead, last_day, first_day, midnight, last_second, next_week]
    rows = card_of(placements=employed).placements
    assert [row.placement_id for row in rows] == ["plc-3", "plc-4", "plc-6"]


def test_few_values_have_the_last_four_weeks_beside_them():
    before = [submitted(n, at=-10 * DAY) for n in range(4)]
    long_before = [submitted(n, at=-24 * DAY) for n in range(4)]
    (row,) = card_of(*before, *long_before, submitted(5), placements=[placement()]).placements
    assert {(f.metric, f.clock): f.n for f in row.pooled} == {
        ("turnaround", "wall"): 5,
        ("turnaround", "firm_business"): 0,
        ("escalation_rate", None): 5,
    }
    enough = [submitted(n) for n in range(5)]
    (row,) = card_of(*before, *enough, placements=[placement()]).placements
    assert [(f.metric, f.clock) for f in row.pooled] == [("turnaround", "firm_business")]


def test_what_stands_in_no_figure_is_counted_beside_them():
    tasks = [
        submitted(5),
        submitted(5, at=-10 * DAY, workflow_ref=None),
        submitted(5, workflow_ref=None),
        submitted(5)._replace(is_type_allowed=False),
        submitted(5, place=replace(PLACE, is_known=False, phase=None)),
        seen(task_of((0, "requested", {"workflow_ref": "wf"}), (1, "reopened")), PLACE),
    ]
    notices = card_of(*tasks).notices
    assert (
        notices.requested,
        notices.anomalies,
        notices.without_workflow,
        notices.outside_allowed,
        notices.unknown_placements,
    ) == (5, 1, 1, 1, 1)
