"""Cohorts: the tasks, escalations and entries that a metric names, one by one, in a window."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple

from schemas.periods import day_start, local_date
from services.metrics.calendars import BusinessClock
from services.metrics.records import Placed, PlacedEscalation
from services.metrics.seen import Columns, Seen

Clock = Literal["wall", "firm_business"]
PhaseName = Literal["active", "shadow", "trial", "unknown"]
Dimension = Literal["assistant", "placement", "task_type", "phase", "country"]
Unit = Literal["seconds", "share", "tasks"]


class Window(NamedTuple):
    """[from_date, to_date) of the firm's zone."""

    from_date: date
    to_date: date

    def holds(self, day: date) -> bool:
        """Say whether a firm-local date lies inside."""
        return self.from_date <= day < self.to_date


class Days(NamedTuple):
    """The dates of a window with the instants at which each begins, and last the window's end.

    An instant is put on its date by looking it up here, which costs a tenth of asking its zone.
    """

    dates: tuple[date, ...]
    starts: tuple[datetime, ...]

    def day_of(self, instant: datetime) -> date | None:
        """Return the local date of an instant; None outside the window."""
        if not self.starts[0] <= instant < self.starts[-1]:
            return None
        return self.dates[bisect_right(self.starts, instant) - 1]


@lru_cache(maxsize=256)
def days_of(window: Window, zone: str) -> Days:
    """Lay out the dates of a window, of which there is at least one."""
    count = (window.to_date - window.from_date).days
    dates = tuple(window.from_date + timedelta(days=number) for number in range(count))
    return Days(dates, tuple(day_start(day, zone) for day in (*dates, window.to_date)))


class Worked(NamedTuple):
    """A part of a closed entry, as hours see it; `started_at` None for one without clock times."""

    entry_id: str
    place: Placed
    service_date: date
    started_at: datetime | None
    seconds: int


@dataclass(frozen=True, slots=True)
class OpenEntry:
    """A timer that runs, or whose start is missing: it has no hours yet."""

    entry_id: str
    at: datetime
    place: Placed


@dataclass(frozen=True, slots=True)
class Work:
    """What a firm's figures are made of; `as_of` is the instant up to which stock is counted."""

    zone: str
    as_of: datetime
    business: BusinessClock | None
    tasks: Sequence[Seen] = ()
    escalations: Sequence[PlacedEscalation] = ()
    worked: Sequence[Worked] = ()
    open_entries: Sequence[OpenEntry] = ()

    def day_of(self, instant: datetime) -> date:
        """Return the firm-local date of an instant."""
        return local_date(instant, self.zone)

    def places(self, definition: "Definition") -> set[Placed]:
        """Return every place that a member of a metric can have."""
        if definition.is_of_hours:
            return {part.place for part in self.worked} | {one.place for one in self.open_entries}
        return {task.place for task in self.tasks} | {one.place for one in self.escalations}

    def anchored(
        self, window: "Window", anchor: Callable[[Columns], datetime | None]
    ) -> Iterator["Anchored"]:
        """Name the tasks whose anchor has happened, on a date of a window."""
        days = days_of(window, self.zone)
        for task in self.tasks:
            at = anchor(task.columns)
            if at is not None and (day := days.day_of(at)) is not None:
                yield Anchored(task, at, day)


@dataclass(frozen=True, slots=True)
class Timing:
    """How elapsed time is counted: in which clock, and without the waits on others."""

    clock: Clock = "wall"
    net: bool = True


class Member(NamedTuple):
    """One task, escalation or entry of a cohort.

    day       the firm-local date of its anchor, which puts it into a window
    seconds   what it measures, for a metric of durations; `hit`: whether it counts in the share
    excluded  why it is left out; None: it counts
    span      between which instants `seconds` were counted
    """

    kind: Literal["task", "escalation", "entry"]
    subject_id: str
    place: Placed
    day: date
    at: datetime | None = None
    seconds: int | None = None
    hit: bool | None = None
    excluded: str | None = None
    span: tuple[datetime, datetime] | None = None


class Anchored(NamedTuple):
    """A task with the instant, and its firm-local date, that puts it into a window."""

    task: Seen
    at: datetime
    day: date

    @property
    def cancelled(self) -> str | None:
        """Why the task is left out when it was cancelled, whatever else happened to it."""
        return "cancelled" if self.task.columns.present == "cancelled" else None

    def member(
        self,
        *,
        hit: bool | None = None,
        seconds: int | None = None,
        span: tuple[datetime, datetime] | None = None,
        excluded: str | None = None,
    ) -> Member:
        """Make the task a member of a cohort; one that is left out measures nothing."""
        if excluded is not None:
            hit = seconds = span = None
        return Member(
            "task", self.task.task_id, self.task.place, self.day, self.at,
            seconds, hit, excluded, span,
        )  # fmt: skip


Measure = Callable[[Work, Window, Timing], Iterable[Member]]


@dataclass(frozen=True, slots=True)
class Definition:
    """What a metric means, in words and in code.

    anchor   what puts a task into a window; a stock metric is counted as of the window's end
    clocks   the clocks that it can be counted in; empty: it counts no elapsed time
    beside   metrics that always stand beside it
    grouped  dimensions that it always has
    counts_loose  escalations about no task are counted as left out
    """

    metric: str
    version: int
    title: str
    unit: Unit
    summary: Literal["durations", "share", "count", "sum"]
    anchor: str
    formula: str
    edges: str
    measure: Measure
    clocks: tuple[Clock, ...] = ()
    beside: tuple[str, ...] = ()
    grouped: tuple[Dimension, ...] = ()
    is_stock: bool = False
    counts_loose: bool = False

    @property
    def is_of_hours(self) -> bool:
        """Whether it names entries; every other metric names tasks."""
        return self.anchor == "service_date"


def stock_instant(work: Work, window: Window) -> datetime:
    """Return the instant at which stock is counted for a window: its last second, or now if less.

    Its end already belongs to the next one.
    """
    return min(day_start(window.to_date, work.zone) - timedelta(seconds=1), work.as_of)
