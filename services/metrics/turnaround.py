"""Turnaround: from the request to the first submission, in a clock, without the waits on others."""

from collections.abc import Iterator
from datetime import datetime

from schemas.fields import HoldReason
from services.metrics.calendars import BusinessClock, Interval, union
from services.metrics.figures import Definition, Member, Timing, Window, Work
from services.metrics.records import PlacedTask, Task

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
    for placed in work.tasks:
        task = placed.task
        at = task.first_submitted_at or task.cancelled_at
        if at is None or not window.holds(work.day_of(at)):
            continue
        yield _member(work, placed, at, timing)


def _member(work: Work, placed: PlacedTask, at: datetime, timing: Timing) -> Member:
    task = placed.task
    requested_at = task.requested_at
    reason = _exclusion(task, at)
    business = work.business if timing.clock == "firm_business" else None
    if reason is None and timing.clock == "firm_business" and business is None:
        reason = "no_calendar"
    day = work.day_of(at)
    if reason is not None or requested_at is None:
        return Member("task", task.task_id, placed.place, day, at, excluded=reason)
    seconds = elapsed_seconds(task, requested_at, at, business, net=timing.net)
    return Member(
        "task", task.task_id, placed.place, day, at, seconds=seconds, span=(requested_at, at)
    )


def _exclusion(task: Task, at: datetime) -> str | None:
    if task.state == "cancelled":
        return "cancelled"
    if task.requested_at is None:
        return "request_missing"
    if at < task.requested_at:
        return "submitted_before_request"
    return None


def measure_slack(work: Work, window: Window, timing: Timing) -> Iterator[Member]:
    """Name the tasks first submitted in a window, with the time left until they were due."""
    del timing  # what a due date leaves is wall time
    for placed in work.tasks:
        task = placed.task
        at = task.first_submitted_at
        if at is None or not window.holds(work.day_of(at)):
            continue
        reason = "cancelled" if task.state == "cancelled" else None
        if reason is None and task.due_at is None:
            reason = "no_due_date"
        seconds = None if task.due_at is None else int((task.due_at - at).total_seconds())
        yield Member(
            "task",
            task.task_id,
            placed.place,
            work.day_of(at),
            at,
            seconds=None if reason else seconds,
            excluded=reason,
        )


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
