"""Toggl Track's detailed export: ISO dates and 24-hour clock times."""

import re
from datetime import datetime

from services.ingest.rows import Cells, RowRefused, Stint, make_stint

REQUIRED = ("Start date", "Start time", "End date", "End time")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")


def read_stint(line: int, cells: Cells) -> Stint | RowRefused:
    """Read one row; its duration is not looked at: the interval says it."""
    if not cells["End date"] or not cells["End time"]:
        return RowRefused(line, "not_ended", "the row has no end: a timer that still runs?")
    started = _read_moment(f"{cells['Start date']} {cells['Start time']}")
    ended = _read_moment(f"{cells['End date']} {cells['End time']}")
    if started is None or ended is None:
        return RowRefused(line, "bad_time", "give dates as 2026-07-01 and times as 09:00:00")
    return make_stint(line, cells, task=cells.get("Task", ""), started=started, ended=ended)


def _read_moment(text: str) -> datetime | None:
    if _MOMENT.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # a date or a time that no calendar or clock has
        return None
