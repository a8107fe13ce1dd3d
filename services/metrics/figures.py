"""Figures: what a metric says of a window and a group, with all that is needed to believe it.

Every metric is measured in two steps: its room names the members of a cohort one by one, counted
or left out with the reason; then they are summed up here. The tasks behind a figure are therefore
always exactly those that it was made of.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final, Literal, NamedTuple

from schemas.periods import Month, Week, day_start
from services.metrics.cohorts import (
    Clock,
    Definition,
    Dimension,
    Measure,
    Member,
    PhaseName,
    Timing,
    Unit,
    Window,
    Work,
)
from services.metrics.records import Placed
from services.metrics.shares import LISTED_BELOW, percentile_seconds, share

Granularity = Literal["day", "week", "month", "all"]
PHASES: Final[tuple[PhaseName, ...]] = ("active", "shadow", "trial")


class Interval(NamedTuple):
    """A Wilson 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric of one window, phase and group.

    value        seconds, a share of 1, or a count; a median of fewer than 5 values is None, and
                 `values` lists them; None with n 0 where there is nothing to measure
    excluded     what belongs here and does not count, by reason
    share_zero   how many of the durations are 0: in a business clock that may be most of them
    """

    metric: str
    definition_version: int
    phase: PhaseName
    group: Mapping[str, str | None]
    from_date: date
    to_date: date
    anchor: str
    unit: Unit
    clock: Clock | None
    net: bool | None
    calendar_version: str | None
    value: int | float | None
    n: int
    numerator: int | None = None
    denominator: int | None = None
    interval: Interval | None = None
    percentiles: Mapping[str, int | None] | None = None
    values: tuple[int, ...] | None = None
    insufficient: bool | None = None
    share_zero: float | None = None
    excluded: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: metrics over a span of dates, cut into windows and groups.

    phases None: all of them, each a figure of its own, those of unknown placements last.
    """

    definitions: tuple[Definition, ...]
    span: Window
    granularity: Granularity = "all"
    group_by: tuple[Dimension, ...] = ()
    clocks: tuple[Clock, ...] = ("wall", "firm_business")
    net: bool = True
    phases: tuple[PhaseName, ...] | None = ("active",)
    percentiles: tuple[int, ...] = (50, 90)


class _Key(NamedTuple):
    """What a figure is of; members with equal keys are summed up together."""

    phase: PhaseName
    group: tuple[tuple[str, str | None], ...]


class Measured:
    """The members of cohorts in a span of dates, each measured once, however often it is asked."""

    def __init__(self, work: Work, span: Window) -> None:
        self.work = work
        self._span = span
        self._found: dict[tuple[Measure, Window, Timing], tuple[Member, ...]] = {}

    def members(self, definition: Definition, window: Window, timing: Timing) -> Iterable[Member]:
        """Return the members of a cohort in a window that lies in the span."""
        asked = window if definition.is_stock else self._span
        # Metrics may share a way of measuring, as both of hours do.
        key = (definition.measure, asked, timing)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = tuple(definition.measure(self.work, asked, timing))
        if asked == window:
            return found
        return (member for member in found if window.holds(member.day))


def answer(work: Work, question: Question, measured: Measured | None = None) -> tuple[Figure, ...]:
    """Return every figure asked for, by metric, clock, window, phase and group.

    `measured`, of the same work and of a span that holds the question's, saves measuring again.
    """
    measured = measured or Measured(work, question.span)
    spans = windows(question.span, question.granularity)
    found: list[Figure] = []
    for definition in question.definitions:
        for clock in clocks_of(definition, question.clocks):
            found.extend(_figures(measured, question, definition, clock, spans))
    return tuple(found)


def count_figures(work: Work, question: Question) -> int:
    """Say how many figures an answer may have, before anything is measured.

    Windows × groups × clocks of each metric; groups are those of all its rows, counted or not.
    """
    figures = 0
    for definition in question.definitions:
        dimensions = _dimensions(question, definition)
        keys = {_key(place, dimensions) for place in work.places(definition)}
        groups = _named(question, definition, {key for key in keys if _is_asked(key, question)})
        figures += len(groups) * len(clocks_of(definition, question.clocks))
    return figures * len(windows(question.span, question.granularity))


def windows(span: Window, granularity: Granularity) -> tuple[Window, ...]:
    """Cut a span of dates into days, ISO weeks or months; the first and last end with the span."""
    ends: Mapping[Granularity, Callable[[date], date]] = {
        "day": lambda day: day + timedelta(days=1),
        "week": lambda day: Week.of(day).end_date,
        "month": lambda day: Month.of(day).end_date,
        "all": lambda _: span.to_date,
    }
    found = []
    start = span.from_date
    while start < span.to_date:
        end = min(ends[granularity](start), span.to_date)
        found.append(Window(start, end))
        start = end
    return tuple(found)


def phase_of(place: Placed) -> PhaseName:
    """Name the phase that a member belongs to; `unknown` for an unknown placement."""
    return place.phase or "unknown"


def dimension_of(place: Placed, dimension: Dimension) -> str | None:
    """Return what a place is in one dimension."""
    values: Mapping[Dimension, str | None] = {
        "assistant": place.assistant_id,
        "placement": place.placement_id,
        "task_type": place.task_type,
        "phase": phase_of(place),
        "country": place.country,
    }
    return values[dimension]


def empty_figure(
    work: Work,
    question: Question,
    definition: Definition,
    clock: Clock | None,
    phase: PhaseName,
    group: Mapping[str, str | None],
) -> Figure:
    """Return the figure of a group with nothing to measure."""
    key = _Key(phase, tuple(group.items()))
    return _figure(work, question, definition, clock, question.span, key, ())


def clocks_of(definition: Definition, asked: Sequence[Clock]) -> tuple[Clock | None, ...]:
    """Choose a metric's clocks; wall time stands beside every other, whether asked for or not."""
    if not definition.clocks:
        return (None,)
    return tuple(clock for clock in definition.clocks if clock == "wall" or clock in asked)


def _figures(
    measured: Measured,
    question: Question,
    definition: Definition,
    clock: Clock | None,
    spans: Sequence[Window],
) -> Iterable[Figure]:
    timing = Timing(clock or "wall", question.net)
    cohorts = _cohorts(measured, question, definition, timing, spans)
    keys = {key for cohort in cohorts.values() for key in cohort}
    named = sorted(_named(question, definition, keys), key=_in_order)
    for span in spans:
        for key in named:
            members = cohorts[span].get(key, ())
            yield _figure(measured.work, question, definition, clock, span, key, members)


def _cohorts(
    measured: Measured,
    question: Question,
    definition: Definition,
    timing: Timing,
    spans: Sequence[Window],
) -> dict[Window, dict[_Key, list[Member]]]:
    """Measure once over the whole span, a stock metric once a window, and sort the members."""
    cohorts: dict[Window, dict[_Key, list[Member]]] = {span: defaultdict(list) for span in spans}
    dimensions = _dimensions(question, definition)
    firsts = [span.from_date for span in spans]
    # Members are many and their places few, each mostly the same value; members keep them alive.
    keys: dict[int, _Key] = {}
    for asked in spans if definition.is_stock else (question.span,):
        for member in measured.members(definition, asked, timing):
            place = member.place
            key = keys.get(id(place)) or keys.setdefault(id(place), _key(place, dimensions))
            if not _is_asked(key, question):
                continue
            window = asked if definition.is_stock else spans[bisect_right(firsts, member.day) - 1]
            cohorts[window][key].append(member)
    return cohorts


def _dimensions(question: Question, definition: Definition) -> tuple[Dimension, ...]:
    return tuple(dict.fromkeys((*question.group_by, *definition.grouped)))


def _is_asked(key: _Key, question: Question) -> bool:
    return question.phases is None or key.phase in question.phases


def _key(place: Placed, dimensions: Sequence[Dimension]) -> _Key:
    return _Key(phase_of(place), tuple((name, dimension_of(place, name)) for name in dimensions))


def _named(question: Question, definition: Definition, keys: set[_Key]) -> set[_Key]:
    """Name the figures: every group that has a member; ungrouped, every phase asked for."""
    if question.group_by or definition.grouped:
        return keys
    return keys | {_Key(phase, ()) for phase in question.phases or PHASES}


def _in_order(key: _Key) -> tuple[int, tuple[tuple[str, bool, str], ...]]:
    order = (*PHASES, "unknown")
    return order.index(key.phase), tuple((n, v is None, v or "") for n, v in key.group)


def _figure(
    work: Work,
    question: Question,
    definition: Definition,
    clock: Clock | None,
    span: Window,
    key: _Key,
    members: Sequence[Member],
) -> Figure:
    counted = [member for member in members if member.excluded is None]
    excluded = Counter(member.excluded for member in members if member.excluded is not None)
    summed = _SUMMARIES[definition.summary](counted, question.percentiles)
    return Figure(
        metric=definition.metric,
        definition_version=definition.version,
        phase=key.phase,
        group=dict(key.group),
        from_date=span.from_date,
        to_date=span.to_date,
        anchor=definition.anchor,
        unit=definition.unit,
        clock=clock,
        net=question.net if definition.clocks else None,
        calendar_version=_calendar_version(work, clock, span, counted),
        excluded=dict(sorted(excluded.items())),
        value=summed.value,
        n=summed.n,
        numerator=summed.numerator,
        denominator=summed.denominator,
        interval=summed.interval,
        percentiles=summed.percentiles,
        values=summed.values,
        insufficient=summed.insufficient,
        share_zero=summed.share_zero,
    )


def _calendar_version(
    work: Work, clock: Clock | None, span: Window, counted: Sequence[Member]
) -> str | None:
    """Name the calendar, or the calendars one after another, that the seconds were counted in."""
    if clock != "firm_business" or work.business is None:
        return None
    starts = [member.span[0] for member in counted if member.span]
    ends = [member.span[1] for member in counted if member.span]
    since = min(starts, default=day_start(span.from_date, work.zone))
    until = max(ends, default=day_start(span.to_date - timedelta(days=1), work.zone))
    return ",".join(work.business.names(since, max(since, until)))


class _Summed(NamedTuple):
    """What the members of a figure come to."""

    value: int | float | None
    n: int
    numerator: int | None = None
    denominator: int | None = None
    interval: Interval | None = None
    percentiles: Mapping[str, int | None] | None = None
    values: tuple[int, ...] | None = None
    insufficient: bool | None = None
    share_zero: float | None = None


def _sum_durations(counted: Sequence[Member], percentiles: Sequence[int]) -> _Summed:
    values = sorted(member.seconds for member in counted if member.seconds is not None)
    n = len(values)
    return _Summed(
        value=percentile_seconds(values, 50) if n else None,
        n=n,
        percentiles={str(p): percentile_seconds(values, p) if n else None for p in percentiles},
        values=tuple(values) if n < LISTED_BELOW else None,
        insufficient=n < LISTED_BELOW,
        share_zero=share(sum(value == 0 for value in values), n).value,
    )


def _sum_share(counted: Sequence[Member], _: Sequence[int]) -> _Summed:
    hits, n = sum(member.hit is True for member in counted), len(counted)
    found = share(hits, n)
    interval = None
    if found.low is not None and found.high is not None:
        interval = Interval(found.low, found.high)
    return _Summed(found.value, n, numerator=hits, denominator=n, interval=interval)


def _sum_count(counted: Sequence[Member], _: Sequence[int]) -> _Summed:
    return _Summed(len(counted), len(counted))


def _sum_seconds(counted: Sequence[Member], _: Sequence[int]) -> _Summed:
    """Add seconds up; n counts entries, of which one may have parts on several dates."""
    n = len({member.subject_id for member in counted})
    return _Summed(sum(member.seconds or 0 for member in counted) if n else None, n)


_SUMMARIES: Final[Mapping[str, Callable[[Sequence[Member], Sequence[int]], _Summed]]] = {
    "durations": _sum_durations,
    "share": _sum_share,
    "count": _sum_count,
    "sum": _sum_seconds,
}
