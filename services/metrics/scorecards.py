"""The weekly scorecard: every figure per placement and phase, and the firm's per phase."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from schemas.directory import Directory, Placement
from schemas.periods import Week, local_date
from services.metrics.catalogue import DEFINITIONS
from services.metrics.cohorts import Clock, PhaseName, Window, Work, days_of
from services.metrics.figures import (
    PHASES,
    Figure,
    Measured,
    Question,
    answer,
    clocks_of,
    empty_figure,
)
from services.metrics.shares import LISTED_BELOW

METRICS: Final = (
    "turnaround",
    "first_pass_acceptance",
    "review_coverage",
    "escalation_rate",
    "throughput",
    "open_overdue",
    "hours",
)
POOLED: Final = ("turnaround", "first_pass_acceptance", "escalation_rate")
POOLED_WEEKS: Final = 4
CLOCKS: Final[tuple[Clock, ...]] = ("wall", "firm_business")
_ORDER: Final[tuple[PhaseName, ...]] = (*PHASES, "unknown")
_Row = tuple[str | None, PhaseName]


@dataclass(frozen=True, slots=True)
class Card:
    """The figures of a placement, or of the firm as a whole, in one phase.

    hours_by_task_type  one figure a task type that has hours
    pooled              of each figure with fewer than 5 values: the same over the last 4 weeks
    """

    placement_id: str | None
    assistant_id: str | None
    phase: PhaseName
    figures: tuple[Figure, ...]
    hours_by_task_type: tuple[Figure, ...]
    pooled: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Notices:
    """What does not stand in a figure and should be seen: tasks requested in the week.

    anomalies           whose story has something impossible or contradictory in it
    without_workflow    that name no written procedure
    outside_allowed     of a type that the placement was not given
    unknown_placements  whose placement nobody has told us of
    """

    requested: int
    anomalies: int
    without_workflow: int
    outside_allowed: int
    unknown_placements: int


@dataclass(frozen=True, slots=True)
class Scorecard:
    """A firm's week: `firm` one card a phase, `placements` one a placement and phase."""

    week: str
    from_date: date
    to_date: date
    firm: tuple[Card, ...]
    placements: tuple[Card, ...]
    notices: Notices


def pooled_span(week: Week) -> Window:
    """Return the dates of the weeks that a scorecard reads: its own and the three before it."""
    return Window(week.first_date - timedelta(weeks=POOLED_WEEKS - 1), week.end_date)


def make_scorecard(work: Work, directory: Directory, week: Week) -> Scorecard:
    """Make a week's scorecard; `work` holds what belongs to the weeks of `pooled_span`."""
    measured = Measured(work, pooled_span(week))
    return Scorecard(
        week=str(week),
        from_date=week.first_date,
        to_date=week.end_date,
        firm=_cards(measured, week, [(None, phase) for phase in PHASES], {}),
        placements=_cards(
            measured, week, _employed(directory, work.zone, week), directory.placements, by=True
        ),
        notices=_notices(work, Window(week.first_date, week.end_date)),
    )


def _cards(
    measured: Measured,
    week: Week,
    rows: Sequence[_Row],
    placements: Mapping[str, Placement],
    *,
    by: bool = False,
) -> tuple[Card, ...]:
    """Make a card for each row asked for, and for each that has any figure besides."""
    question = Question(
        definitions=tuple(DEFINITIONS[name] for name in METRICS),
        span=Window(week.first_date, week.end_date),
        group_by=("placement",) if by else (),
        clocks=CLOCKS,
        phases=None,
    )
    by_type = replace(question, definitions=(DEFINITIONS["hours_by_task_type"],))
    over_weeks = replace(
        question,
        definitions=tuple(DEFINITIONS[name] for name in POOLED),
        span=pooled_span(week),
    )
    work = measured.work
    figures, types, pooled = (
        _by_row(answer(work, asked, measured)) for asked in (question, by_type, over_weeks)
    )
    named = {*rows, *figures, *types}
    return tuple(
        _card(work, question, row, figures, types, pooled, placements)
        for row in sorted(named, key=lambda row: (row[0] or "", _ORDER.index(row[1])))
    )


def _card(
    work: Work,
    question: Question,
    row: _Row,
    figures: Mapping[_Row, Sequence[Figure]],
    types: Mapping[_Row, Sequence[Figure]],
    pooled: Mapping[_Row, Sequence[Figure]],
    placements: Mapping[str, Placement],
) -> Card:
    placement_id, phase = row
    known = {(figure.metric, figure.clock): figure for figure in figures.get(row, ())}
    group = {} if placement_id is None else {"placement": placement_id}
    whole = tuple(
        known.get((definition.metric, clock))
        or empty_figure(work, question, definition, clock, phase, group)
        for definition in question.definitions
        for clock in clocks_of(definition, question.clocks)
    )
    few = {(figure.metric, figure.clock) for figure in whole if figure.n < LISTED_BELOW}
    placement = placements.get(placement_id or "")
    return Card(
        placement_id=placement_id,
        assistant_id=placement.assistant_id if placement else None,
        phase=phase,
        figures=whole,
        hours_by_task_type=tuple(types.get(row, ())),
        pooled=tuple(
            figure for figure in pooled.get(row, ()) if (figure.metric, figure.clock) in few
        ),
    )


def _by_row(figures: Sequence[Figure]) -> dict[_Row, list[Figure]]:
    rows: dict[_Row, list[Figure]] = {}
    for figure in figures:
        rows.setdefault((figure.group.get("placement"), figure.phase), []).append(figure)
    return rows


def _employed(directory: Directory, zone: str, week: Week) -> list[_Row]:
    """List the placements that ran in the week with their phases, also those that did nothing."""
    rows: set[_Row] = set()
    for placement in directory.placements.values():
        first = local_date(placement.started_at, zone)
        # The end itself is no part of it: one at midnight leaves the new date out.
        last = (
            local_date(placement.ended_at - timedelta(seconds=1), zone)
            if placement.ended_at
            else None
        )
        for offset in range(7):
            day = week.first_date + timedelta(days=offset)
            if first <= day and (last is None or day <= last):
                rows.add((placement.placement_id, placement.phases.on(day)))
    return sorted(rows, key=lambda row: (row[0] or "", row[1]))


def _notices(work: Work, window: Window) -> Notices:
    days = days_of(window, work.zone)
    requested = [
        task
        for task in work.tasks
        if (at := task.columns.requested_at) is not None and days.day_of(at) is not None
    ]
    return Notices(
        requested=len(requested),
        anomalies=sum(task.has_anomalies for task in requested),
        without_workflow=sum(not task.has_workflow for task in requested),
        outside_allowed=sum(not task.is_type_allowed for task in requested),
        unknown_placements=sum(not task.place.is_known for task in requested),
    )
