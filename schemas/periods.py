"""Days, weeks and months of a firm's zone, half-open, exact over changes of the clock."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Self
from zoneinfo import ZoneInfo

from schemas.instants import YEARS

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_MONTH_TEXT = re.compile(r"([0-9]{4})-([0-9]{2})", re.ASCII)
_WEEK_TEXT = re.compile(r"([0-9]{4})-W([0-9]{2})", re.ASCII)


@lru_cache(maxsize=65_536)
def day_start(day: date, zone: str) -> datetime:
    """Return the first instant of a local date, in UTC; `zone` is an IANA name.

    Where the clock skips midnight it is the first instant after the gap, where midnight comes
    twice the first of them. A date that a zone skipped as a whole begins where the next one does.
    """
    local_zone = ZoneInfo(zone)
    midnight = datetime.combine(day, time.min)
    start = midnight.replace(tzinfo=local_zone).astimezone(UTC)
    if _local(start, local_zone) == midnight:
        return start
    # In a gap the two readings of the missing midnight lie on both sides of the change.
    before = midnight.replace(tzinfo=local_zone, fold=1).astimezone(UTC)
    while start - before > _SECOND:
        middle = before + (start - before) // _SECOND // 2 * _SECOND
        if _local(middle, local_zone) >= midnight:
            start = middle
        else:
            before = middle
    return start


def local_date(instant: datetime, zone: str) -> date:
    """Return the local date that holds an instant: the last one that began at it or before.

    That is the calendar's date, except where a clock was set back over midnight after the new day
    had begun: the day that began goes on.
    """
    day = _local(instant, ZoneInfo(zone)).date()
    return day + _DAY if day_start(day + _DAY, zone) <= instant else day


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month of a zone. Written `2026-07`."""

    year: int
    month: int

    def __post_init__(self) -> None:
        date(self.year, self.month, 1)  # raises ValueError for what is no month

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `2026-07`. Raises ValueError for anything else, and for years of no event."""
        return cls(*_numbers(_MONTH_TEXT, text, "a month is written like 2026-07"))

    @staticmethod
    def of(day: date) -> "Month":
        """Return the month that holds a date: the same one each time, for it is asked often."""
        return _month(day.year, day.month)

    def __hash__(self) -> int:
        """Hash in one step: months are the keys of most that is added up."""
        return 12 * self.year + self.month

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    @property
    def first_date(self) -> date:
        """The month's first date."""
        return date(self.year, self.month, 1)

    @property
    def end_date(self) -> date:
        """The first date after the month."""
        return self.next().first_date

    def next(self) -> "Month":
        """Return the month after this one."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    def previous(self) -> "Month":
        """Return the month before this one."""
        return Month.of(self.first_date - _DAY)

    def bounds(self, zone: str) -> tuple[datetime, datetime]:
        """Return the month as instants [from, to) in UTC, in an IANA zone."""
        return day_start(self.first_date, zone), day_start(self.end_date, zone)


@lru_cache(maxsize=4_096)
def _month(year: int, month: int) -> Month:
    return Month(year, month)


@dataclass(frozen=True, slots=True, order=True)
class Week:
    """An ISO week of a zone, Monday to Sunday. Written `2026-W28`; its year is the ISO year."""

    year: int
    week: int

    def __post_init__(self) -> None:
        date.fromisocalendar(self.year, self.week, 1)  # raises ValueError for what is no week

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `2026-W28`. Raises ValueError for anything else, and for years of no event."""
        return cls(*_numbers(_WEEK_TEXT, text, "a week is written like 2026-W28"))

    @classmethod
    def of(cls, day: date) -> Self:
        """Return the week that holds a date."""
        year, week, _weekday = day.isocalendar()
        return cls(year, week)

    def __str__(self) -> str:
        return f"{self.year:04}-W{self.week:02}"

    @property
    def first_date(self) -> date:
        """The week's Monday."""
        return date.fromisocalendar(self.year, self.week, 1)

    @property
    def end_date(self) -> date:
        """The Monday after the week."""
        return self.first_date + 7 * _DAY

    def next(self) -> "Week":
        """Return the week after this one."""
        return Week.of(self.end_date)

    def previous(self) -> "Week":
        """Return the week before this one."""
        return Week.of(self.first_date - _DAY)

    def bounds(self, zone: str) -> tuple[datetime, datetime]:
        """Return the week as instants [from, to) in UTC, in an IANA zone."""
        return day_start(self.first_date, zone), day_start(self.end_date, zone)


def _numbers(pattern: re.Pattern[str], text: str, example: str) -> tuple[int, int]:
    found = pattern.fullmatch(text)
    if found is None:
        raise ValueError(example)
    if int(found[1]) not in YEARS:
        raise ValueError(f"give a year from {YEARS[0]} to {YEARS[-1]}")
    return int(found[1]), int(found[2])


def _local(instant: datetime, zone: tzinfo) -> datetime:
    """What a clock on the wall shows, without a zone: to be compared, never to be subtracted."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)
