"""Business time: the seconds of a stretch that lie inside office hours or a shift.

Hours are laid out on local dates and turned into UTC date by date; from then on only UTC instants
are compared and subtracted. A stretch of hours that starts on a date belongs to that date, also
when it crosses midnight, and follows the version in force on it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple
from zoneinfo import ZoneInfo

from schemas.directory import Calendar, Timeline
from schemas.directory_events import Shift

_DAY = timedelta(days=1)
_STEP_DAYS = 14
HORIZON_DAYS = 3_660


class Hours(NamedTuple):
    """A stretch of hours of a date: minutes after its midnight, and how many it lasts."""

    start_minute: int
    minutes: int


class Interval(NamedTuple):
    """[start, end) in UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Version:
    """Hours in force from a local date on: by weekday (Monday first), closed and special dates."""

    since: date
    zone: str
    week: tuple[tuple[Hours, ...], ...]
    closed_dates: frozenset[date]
    overrides: tuple[tuple[date, tuple[Hours, ...]], ...]
    name: str

    def hours_on(self, day: date) -> tuple[Hours, ...]:
        """Return the hours of a local date: an override wins over a closed date, it over a week."""
        for special, hours in self.overrides:
            if special == day:
                return hours
        return () if day in self.closed_dates else self.week[day.weekday()]


class LaidOut(NamedTuple):
    """The hours of a stretch of time, laid out once so that many parts of it can be counted.

    Instants are whole seconds since 1970; `before` says how many open ones lie before each opening.
    """

    opens: tuple[int, ...]
    closes: tuple[int, ...]
    before: tuple[int, ...]

    def within(self, start: datetime, end: datetime) -> int:
        """Count the seconds of [start, end), a part of the stretch, that lie inside the hours."""
        return self._until(end) - self._until(start) if start < end else 0

    def _until(self, instant: datetime) -> int:
        at = int(instant.timestamp())
        place = bisect_right(self.opens, at) - 1
        if place < 0:
            return 0
        return self.before[place] + min(at, self.closes[place]) - self.opens[place]


@dataclass(frozen=True, slots=True)
class BusinessClock:
    """A clock that runs inside office hours only; `versions` by date, the first reaches back."""

    versions: tuple[Version, ...]

    def intervals(self, start: datetime, end: datetime) -> tuple[Interval, ...]:
        """Return the open intervals within [start, end), joined where they touch or overlap."""
        if end <= start:
            return ()
        clipped = (
            Interval(max(opens, start), min(closes, end))
            for opens, closes in self._around(start, end)
        )
        return _join(found for found in clipped if found.start < found.end)

    def within(self, start: datetime, end: datetime) -> int:
        """Count the seconds of [start, end) that lie inside the hours; 0 when end <= start."""
        return sum(_seconds(opens, closes) for opens, closes in self.intervals(start, end))

    def lay_out(self, start: datetime, end: datetime) -> LaidOut:
        """Lay out the hours of [start, end), for whoever counts many parts of it."""
        found = self.intervals(start, end)
        opens = tuple(int(interval.start.timestamp()) for interval in found)
        closes = tuple(int(interval.end.timestamp()) for interval in found)
        lengths = (until - since for since, until in zip(opens, closes, strict=True))
        return LaidOut(opens, closes, tuple(accumulate(lengths, initial=0))[:-1])

    def add(self, start: datetime, seconds: int) -> datetime | None:
        """Return the earliest instant whose `within(start, ·)` equals `seconds`.

        None when the hours of the next ten years do not hold that many.
        """
        left = seconds
        since = start
        horizon = start + timedelta(days=HORIZON_DAYS)
        while left > 0:
            if since >= horizon:
                return None
            until = since + timedelta(days=_STEP_DAYS)
            for opens, closes in self.intervals(since, until):
                if left <= _seconds(opens, closes):
                    return opens + timedelta(seconds=left)
                left -= _seconds(opens, closes)
            since = until
        return start

    def names(self, start: datetime, end: datetime) -> tuple[str, ...]:
        """Name the versions whose dates touch [start, end], the first of them first."""
        found = []
        for version, following in zip(self.versions, (*self.versions[1:], None), strict=True):
            zone = ZoneInfo(version.zone)
            is_past = version.since <= end.astimezone(zone).date() or version is self.versions[0]
            is_over = following is not None and following.since <= start.astimezone(zone).date()
            if is_past and not is_over:
                found.append(version.name)
        return tuple(found)

    def _around(self, start: datetime, end: datetime) -> Iterator[Interval]:
        """Yield the intervals of all dates whose hours may touch [start, end)."""
        for version, following in zip(self.versions, (*self.versions[1:], None), strict=True):
            zone = ZoneInfo(version.zone)
            # Hours last up to a day and may begin on the date before; one more for lost dates.
            day = start.astimezone(zone).date() - 2 * _DAY
            if version is not self.versions[0]:
                day = max(day, version.since)
            last = end.astimezone(zone).date()
            while day <= last and (following is None or day < following.since):
                yield from _day_intervals(version.zone, day, version.hours_on(day))
                day += _DAY


def firm_clock(calendars: Timeline[Calendar | None]) -> BusinessClock | None:
    """Make the clock of a firm's office hours; None while it has no calendar."""
    versions = [
        Version(
            since=since,
            zone=calendar.zone,
            week=_week((slot.weekday, slot.start, slot.minutes) for slot in calendar.slots),
            closed_dates=frozenset(calendar.closed_dates),
            overrides=tuple(
                (special.date, tuple(_hours(slot.start, slot.minutes) for slot in special.slots))
                for special in calendar.overrides
            ),
            name=calendar.version,
        )
        for since, calendar in calendars.changes
        if calendar is not None
    ]
    return BusinessClock(tuple(versions)) if versions else None


def shift_clock(shifts: Timeline[Shift]) -> BusinessClock:
    """Make the clock of a placement's shift; its versions are named by their dates."""
    return BusinessClock(
        tuple(
            Version(
                since=since,
                zone=shift.zone,
                week=_week((slot.weekday, slot.start, slot.minutes) for slot in shift.slots),
                closed_dates=frozenset(),
                overrides=(),
                name=since.isoformat(),
            )
            for since, shift in shifts.changes
        )
    )


def overlap_seconds(
    one: BusinessClock, other: BusinessClock, start: datetime, end: datetime
) -> int:
    """Count the seconds of [start, end) that lie inside both clocks' hours."""
    return sum(other.within(opens, closes) for opens, closes in one.intervals(start, end))


def union(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Join intervals into disjoint ones, in order of time; empty ones fall away."""
    return _join(interval for interval in intervals if interval.start < interval.end)


@lru_cache(maxsize=65_536)
def _day_intervals(zone_name: str, day: date, hours: tuple[Hours, ...]) -> tuple[Interval, ...]:
    zone = ZoneInfo(zone_name)
    midnight = datetime.combine(day, time.min)
    found = []
    for start_minute, minutes in hours:
        opens = midnight + timedelta(minutes=start_minute)
        closes = opens + timedelta(minutes=minutes)
        interval = Interval(_first_reading(opens, zone), _last_reading(closes, zone))
        if interval.start < interval.end:
            found.append(interval)
    return tuple(found)


def _first_reading(local: datetime, zone: ZoneInfo) -> datetime:
    """Read a local time as its first occurrence; one in a gap moves forward by the gap."""
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _last_reading(local: datetime, zone: ZoneInfo) -> datetime:
    """Read a local time as its last occurrence; one in a gap moves forward by the gap."""
    # In a gap the second reading is the earlier one: it would move back.
    return max(
        local.replace(tzinfo=zone, fold=0).astimezone(UTC),
        local.replace(tzinfo=zone, fold=1).astimezone(UTC),
    )


def _join(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    joined: list[Interval] = []
    for opens, closes in sorted(intervals):
        if joined and opens <= joined[-1].end:
            joined[-1] = Interval(joined[-1].start, max(closes, joined[-1].end))
        else:
            joined.append(Interval(opens, closes))
    return tuple(joined)


def _seconds(start: datetime, end: datetime) -> int:
    return int((end - start).total_seconds())


def _hours(start: str, minutes: int) -> Hours:
    return Hours(int(start[:2]) * 60 + int(start[3:]), minutes)


def _week(slots: Iterable[tuple[int, str, int]]) -> tuple[tuple[Hours, ...], ...]:
    days: Sequence[list[Hours]] = [[] for _ in range(7)]
    for weekday, start, minutes in slots:
        days[weekday - 1].append(_hours(start, minutes))
    return tuple(tuple(sorted(day)) for day in days)
