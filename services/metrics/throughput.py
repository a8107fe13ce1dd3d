"""How much was finished in a window, and what was overdue at its end."""

from collections.abc import Iterator
from operator import attrgetter

from schemas.periods import day_start
from services.metrics.cohorts import Definition, Member, Timing, Window, Work, stock_instant


def measure_throughput(work: Work, window: Window, timing: Timing) -> Iterator[Member]:
    """Name the tasks whose acceptance, the one that stands, lies in a window."""
    del timing
    for found in work.anchored(window, attrgetter("accepted_at")):
        yield found.member()


def measure_overdue(work: Work, window: Window, timing: Timing) -> Iterator[Member]:
    """Name the open tasks that were past their due date at the end of a window."""
    del timing
    if day_start(window.from_date, work.zone) > work.as_of:
        return  # a window that has not begun holds nothing yet
    instant = stock_instant(work, window)
    for task in work.tasks:
        if not task.is_open_at(instant):
            continue
        if task.due_at is None:
            yield Member("task", task.task_id, task.place, window.from_date, excluded="no_due_date")
        elif task.due_at <= instant:
            yield Member("task", task.task_id, task.place, window.from_date, task.due_at)


THROUGHPUT = Definition(
    metric="throughput",
    version=1,
    title="Tasks accepted",
    unit="tasks",
    summary="count",
    anchor="accepted_at",
    formula="Tasks accepted in the window, with corrections or without, by a person or a timeout.",
    edges="A task that is reopened leaves the week in which it was accepted.",
    measure=measure_throughput,
)
OPEN_OVERDUE = Definition(
    metric="open_overdue",
    version=1,
    title="Open and overdue",
    unit="tasks",
    summary="count",
    anchor="window_end",
    formula="Tasks past their due date and not submitted, closed or cancelled, at the window's"
    " end, or now in a window that is not over.",
    edges="Rebuilt from the states of each task, for any instant. Open tasks without a due date"
    " are counted as no_due_date.",
    measure=measure_overdue,
    is_stock=True,
)
