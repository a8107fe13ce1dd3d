"""Turnaround: from the request to the first submission, in a clock, without the waits on others."""

from collections.abc import Iterator
from datetime import datetime

from schemas.fields import HoldReason
from services.metrics.calendars import BusinessClock, Interval, union
from services.metrics.cohorts import Anchored, Definition, Member, Timing, Window, Work
from services.metrics.records import Task

PAUSES: frozenset[HoldReason] = frozenset(
    {"waiting_on_firm", "waiting_on_client", "waiting_on_third_party"}
)


def pauses(task: Task, start: datetime, end: datetime) -> tuple[Interval, ...]:
    """Return the stretches of [start, end) in which the task waited on others, joined.

    Those are holds for a reason that stops a clock, and blocking escalations; one that is still
    open lasts until the end.
    """
    waits = [(hold.started_at, hold.ended_at) for hold in task.holds if hold.reason in PAUSES]
    waits += [
        (question.raised_at, question.pause_ended_at)
        for question in task.escalations
        if question.blocking
    ]
    return union(Interval(max(since, start), min(until or end, end)) for since, until in waits)


def elapsed_seconds(
    task: Task, start: datetime, end: datetime, business: BusinessClock | None, *, net: bool
) -> int:
    """Count [start, end) in wall time, or in a business clock if one is given.

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
    for found in work.anchored(window, lambda task: task.first_submitted_at or task.cancelled_at):
        requested_at = found.task.requested_at
        reason = _exclusion(found) or ("no_calendar" if clockless else None)
        if reason is not None or requested_at is None:
            yield found.member(excluded=reason)
            continue
        seconds = elapsed_seconds(found.task, requested_at, found.at, business, net=timing.net)
        yield found.member(seconds=seconds, span=(requested_at, found.at))


def _exclusion(found: Anchored) -> str | None:
    requested_at = found.task.requested_at
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
    for found in work.anchored(window, lambda task: task.first_submitted_at):
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
