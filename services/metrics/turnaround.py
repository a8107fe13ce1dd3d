"""Turnaround: from the request to the first submission, in a clock, without the waits on others."""

from collections.abc import Iterator
from datetime import datetime
from operator import attrgetter

from services.metrics.calendars import BusinessClock, Interval, LaidOut, union
from services.metrics.cohorts import Anchored, Definition, Member, Timing, Window, Work
from services.metrics.seen import Columns, Seen


def pauses(task: Seen, start: datetime, end: datetime) -> tuple[Interval, ...]:
    """Return the stretches of [start, end) in which the task waited on others, joined.

    A wait that is not over lasts until the end.
    """
    if not task.waits:
        return ()
    return union(Interval(max(since, start), min(until or end, end)) for since, until in task.waits)


def elapsed_seconds(
    task: Seen,
    start: datetime,
    end: datetime,
    business: BusinessClock | LaidOut | None,
    *,
    net: bool,
) -> int:
    """Count [start, end) in wall time, or in business hours if they are given.

    Net of pauses, which are measured in the same clock.
    """
    within = _wall_seconds if business is None else business.within
    total = within(start, end)
    if net:
        total -= sum(within(since, until) for since, until in pauses(task, start, end))
    return total


def _wall_seconds(start: datetime, end: datetime) -> int:
    return max(0, int((end - start).total_seconds()))


def measure_turnaround(work: Work, window: Window, timing: Timing) -> Iterator[Member]:
    """Name the tasks first submitted in a window, and those cancelled in it before that."""
    business = work.business if timing.clock == "firm_business" else None
    clockless = timing.clock == "firm_business" and business is None
    spans: list[tuple[Anchored, datetime]] = []
    for found in work.anchored(window, _ended_at):
        requested_at = found.task.columns.requested_at
        reason = _exclusion(found) or ("no_calendar" if clockless else None)
        if reason is not None or requested_at is None:
            yield found.member(excluded=reason)
        else:
            spans.append((found, requested_at))
    hours = None
    if business is not None and spans:
        hours = business.lay_out(min(since for _, since in spans), max(f.at for f, _ in spans))
    for found, since in spans:
        seconds = elapsed_seconds(found.task, since, found.at, hours, net=timing.net)
        yield found.member(seconds=seconds, span=(since, found.at))


def _ended_at(columns: Columns) -> datetime | None:
    return columns.first_submitted_at or columns.cancelled_at


def _exclusion(found: Anchored) -> str | None:
    requested_at = found.task.columns.requested_at
    if found.cancelled:
        return found.cancelled
    if requested_at is None:
        return "request_missing"
    if found.at < requested_at:
        return "submitted_before_request"
    return None


def measure_slack(work: Work, window: Window, timing: Timing) -> Iterator[Member]:
    """Name the tasks first submitted in a window, with the time left until they were due."""
    del timing  # what a due date leaves is wall time
    for found in work.anchored(window, attrgetter("first_submitted_at")):
        due_at = found.task.due_at
        if due_at is None:
            yield found.member(excluded=found.cancelled or "no_due_date")
            continue
        seconds = int((due_at - found.at).total_seconds())
        yield found.member(seconds=seconds, excluded=found.cancelled)


TURNAROUND = Definition(
    metric="turnaround",
    version=1,
    title="Turnaround",
    unit="seconds",
    summary="durations",
    anchor="first_submitted_at",
    formula="From the request to the first submission, less the time spent waiting on the firm,"
    " the client or a third party and in blocking escalations (net=true).",
    edges="The value is the median. Waiting on the agency stops no clock. Cancelled tasks are left"
    " out and counted. Business time alone may be zero for overnight work: wall time and"
    " share_zero stand beside it.",
    measure=measure_turnaround,
    clocks=("wall", "firm_business"),
)
SLACK = Definition(
    metric="slack",
    version=1,
    title="Slack to due date",
    unit="seconds",
    summary="durations",
    anchor="first_submitted_at",
    formula="From the first submission to the task's due date, in wall time; negative when late.",
    edges="Tasks without a due date are left out and counted.",
    measure=measure_slack,
)
