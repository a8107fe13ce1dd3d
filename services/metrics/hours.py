"""Hours: the worked time of a window, split at the firm's midnights."""

from collections.abc import Iterator

from services.metrics.cohorts import Definition, Member, Timing, Window, Work


def measure_hours(work: Work, window: Window, timing: Timing) -> Iterator[Member]:
    """Name the parts of entries on the dates of a window, and the timers that have no end yet.

    Every closed entry counts, whatever its kind, its source or its place: what billing holds back
    was worked all the same.
    """
    del timing
    for part in work.worked:
        if window.holds(part.service_date):
            yield Member(
                "entry", part.entry_id, part.place, part.service_date, part.started_at, part.seconds
            )
    for entry in work.open_entries:
        day = work.day_of(entry.at)
        if window.holds(day):
            yield Member("entry", entry.entry_id, entry.place, day, entry.at, excluded="open")


_EDGES = (
    "An entry over midnight counts on both dates. n counts entries. Timers that still run, or"
    " whose start is missing, have no hours yet and are counted as open. Summed over all phases,"
    " unknown included, this is what billing calls worked."
)
HOURS = Definition(
    metric="hours",
    version=1,
    title="Hours",
    unit="seconds",
    summary="sum",
    anchor="service_date",
    formula="Seconds of time entries, split at the firm's midnight.",
    edges=_EDGES,
    measure=measure_hours,
)
HOURS_BY_TASK_TYPE = Definition(
    metric="hours_by_task_type",
    version=1,
    title="Hours by task type",
    unit="seconds",
    summary="sum",
    anchor="service_date",
    formula="Seconds of time entries by task type, split at the firm's midnight.",
    edges=_EDGES,
    measure=measure_hours,
    beside=("hours",),
    grouped=("task_type",),
)
