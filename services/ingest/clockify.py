"""Clockify's detailed export: US dates, and clock times of 12 or 24 hours."""

import re
from datetime import date, datetime, time

from services.ingest.rows import Cells, FileRefused, RowRefused, Stint, make_stint

REQUIRED = ("Start Date", "Start Time", "End Date", "End Time")
_DATE = re.compile(r"([0-9]{2})/([0-9]{2})/([0-9]{4})")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?(?:\s*([AaPp])\.?[Mm]\.?)?")


def read_stint(line: int, cells: Cells) -> Stint | RowRefused:
    """Read one row; its durations are not looked at: the interval wins.

    Raises FileRefused for a month above 12: then every date of the file may be the wrong way round.
    """
    if cells.get("Type", "").casefold() not in {"", "regular"}:
        return RowRefused(line, "not_work", "a break, a holiday or time off is no work")
    if not cells["End Date"] or not cells["End Time"]:
        return RowRefused(line, "not_ended", "the row has no end: a timer that still runs?")
    started = _read_moment(line, cells["Start Date"], cells["Start Time"])
    ended = _read_moment(line, cells["End Date"], cells["End Time"])
    if started is None or ended is None:
        return RowRefused(line, "bad_time", "give dates as 07/31/2026 and times as 09:00:00 AM")
    task = cells.get("Task", "") or cells.get("Activity", "")
    return make_stint(line, cells, task=task, started=started, ended=ended)


def _read_moment(line: int, day: str, clock: str) -> datetime | None:
    found = _DATE.fullmatch(day)
    at = _read_clock(clock)
    if found is None or at is None:
        return None
    month, day_of_month, year = (int(part) for part in found.groups())
    if month > 12:
        raise FileRefused("date_format", "a month above 12: export with dates as MM/DD/YYYY", line)
    try:
        return datetime.combine(date(year, month, day_of_month), at)
    except ValueError:  # a day that its month does not have
        return None


def _read_clock(text: str) -> time | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hour, minute, second = (int(part or 0) for part in found.groups()[:3])
    half = found[4]
    if half is not None:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half in "Pp" else 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    return time(hour, minute, second)
