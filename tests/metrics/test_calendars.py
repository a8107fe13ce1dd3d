"""Business time against vectors worked out by hand, and its laws on random calendars."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import holidays
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.directory import Calendar, Timeline
from schemas.directory_events import DaySlot, Override, Shift, Slot
from services.metrics.calendars import (
    BusinessClock,
    Interval,
    firm_clock,
    overlap_seconds,
    shift_clock,
    union,
)

NEW_YORK = "America/New_York"
OFFICE = tuple(Slot(weekday=day, start="09:00", minutes=480) for day in range(1, 6))
FEDERAL = tuple(sorted(holidays.country_holidays("US", years=[2026])))
HOUR = 3_600


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def calendar(slots=OFFICE, zone=NEW_YORK, closed=(), overrides=(), version="v1"):
    return Calendar(zone, tuple(slots), tuple(closed), tuple(overrides), version)


def clock(*args, **kwargs):
    return firm_clock(Timeline(((date.min, calendar(*args, **kwargs)),)))


def slots(start, minutes, days=range(1, 8)):
    return tuple(Slot(weekday=day, start=start, minutes=minutes) for day in days)


@pytest.mark.parametrize(
    ("start", "end", "wall_hours", "business_hours"),
    [
        ("2026-03-06T21:30", "2026-03-09T14:00", 64.5, 1.5),
        ("2026-10-30T20:30", "2026-11-02T15:00", 66.5, 1.5),
        ("2026-11-25T20:00", "2026-11-30T15:00", 115, 11),
        ("2026-07-02T20:00", "2026-07-06T14:00", 90, 2),
        ("2026-07-15T22:00", "2026-07-16T10:00", 12, 0),
        ("2026-01-16T21:00", "2026-01-20T15:00", 90, 2),
    ],
)
def test_golden_vectors_of_an_office_in_new_york(start, end, wall_hours, business_hours):
    found = clock(closed=FEDERAL).within(at(start), at(end))
    assert ((at(end) - at(start)).total_seconds(), found) == (
        wall_hours * HOUR,
        business_hours * HOUR,
    )


@pytest.mark.parametrize(
    ("day", "start", "minutes", "hours"),
    [
        ("2026-03-08", "00:00", 1_440, 23),
        ("2026-11-01", "00:00", 1_440, 25),
        ("2026-03-07", "22:00", 480, 7),
        ("2026-10-31", "22:00", 480, 9),
        ("2026-07-15", "22:00", 480, 8),
        ("2026-03-08", "02:30", 60, 0),  # 02:30 does not exist and moves to 03:30, where it ends
        ("2026-03-08", "01:30", 60, 1),  # 02:30 moves forward to 03:30: 01:30 to 03:30 is an hour
        ("2026-03-08", "02:10", 30, 0.5),  # 02:10 to 02:40 become 03:10 to 03:40
        ("2026-11-01", "01:00", 60, 2),  # from the first 01:00 to the last 02:00
        ("2026-11-01", "01:30", 15, 1.25),  # from the first 01:30 to the last 01:45
    ],
)
def test_a_slot_follows_the_clock_on_the_wall(day, start, minutes, hours):
    weekday = date.fromisoformat(day).isoweekday()
    found = clock([Slot(weekday=weekday, start=start, minutes=minutes)])
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(NEW_YORK)).astimezone(UTC)
    assert found.within(midnight, midnight + timedelta(hours=48)) == hours * HOUR


ZONES = ("America/New_York", "America/Chicago", "America/Denver", "America/Phoenix",
         "America/Los_Angeles")  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "start", "minutes", "winter", "summer"),
    [
        ("Asia/Manila", "21:00", 540, (8, 7, 6, 6, 5), (8, 8, 7, 6, 6)),
        ("Asia/Kolkata", "18:30", 540, (8, 7, 6, 6, 5), (8, 8, 7, 6, 6)),
        ("America/Mexico_City", "09:00", 540, (7, 8, 8, 8, 7), (6, 7, 8, 8, 8)),
        ("America/Costa_Rica", "09:00", 540, (7, 8, 8, 8, 7), (6, 7, 8, 8, 8)),
        ("America/Bogota", "09:00", 540, (8, 8, 7, 7, 6), (7, 8, 8, 7, 7)),
        ("America/Argentina/Buenos_Aires", "09:00", 540, (7, 6, 5, 5, 4), (8, 7, 6, 5, 5)),
        ("Asia/Manila", "09:00", 540, (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
    ],
)
def test_a_shift_overlaps_the_offices_of_five_zones(zone, start, minutes, winter, summer):
    shift = shift_clock(
        Timeline(((date.min, Shift(zone=zone, slots=list(slots(start, minutes)))),))
    )
    for day, expected in (("2026-01-14", winter), ("2026-07-15", summer)):
        found = []
        for office_zone in ZONES:
            office = clock(zone=office_zone)
            opens = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(office_zone))
            start_of_day = opens.astimezone(UTC)
            found.append(
                overlap_seconds(shift, office, start_of_day, start_of_day + timedelta(days=1))
                / HOUR
            )
        assert tuple(found) == expected, day


def test_slots_that_overlap_count_once():
    twice = clock([*OFFICE, Slot(weekday=3, start="12:00", minutes=480)])
    assert twice.within(at("2026-07-15T00:00"), at("2026-07-16T04:00")) == 11 * HOUR


def test_an_override_wins_over_a_closed_date():
    short = Override(date=date(2026, 12, 24), slots=[DaySlot(start="09:00", minutes=180)])
    off = Override(date=date(2026, 12, 23), slots=[])
    found = clock(closed=[date(2026, 12, 24), date(2026, 12, 25)], overrides=[short, off])
    assert [
        found.within(at(f"2026-12-{day}T05:00"), at(f"2026-12-{day + 1}T05:00")) / HOUR
        for day in (22, 23, 24, 25)
    ] == [8, 0, 3, 0]


def test_a_slot_follows_the_version_of_the_date_on_which_it_starts():
    night = Timeline(
        (
            (date.min, calendar(slots("22:00", 480), version="old")),
            (date(2026, 7, 15), calendar(slots("10:00", 60), version="new")),
        )
    )
    found = firm_clock(night)
    assert found is not None
    start = at("2026-07-15T01:00")  # 21:00 on the 14th in New York
    assert found.intervals(start, start + timedelta(days=2)) == (
        Interval(at("2026-07-15T02:00"), at("2026-07-15T10:00")),
        Interval(at("2026-07-15T14:00"), at("2026-07-15T15:00")),
        Interval(at("2026-07-16T14:00"), at("2026-07-16T15:00")),
    )
    assert found.names(start, start + timedelta(days=1)) == ("old", "new")
    assert found.names(start, start) == ("old",)
    assert found.names(at("2026-07-15T12:00"), at("2026-07-15T13:00")) == ("new",)
    # two nights of the old one until midnight, and no morning of the new one yet
    assert found.within(at("2026-07-13T12:00"), at("2026-07-15T04:00")) == 10 * HOUR
    assert found.names(at("2026-08-01T00:00"), at("2026-08-02T00:00")) == ("new",)


def test_a_night_goes_on_over_a_date_that_its_zone_skipped():
    """Samoa went from 24:00 of 29 December 2011 to the 31st: the 29th's night ends then."""
    found = clock(slots("22:00", 480), zone="Pacific/Apia")
    assert found.within(at("2011-12-30T10:00"), at("2011-12-30T20:00")) == 6 * HOUR


def test_a_firm_without_a_calendar_has_no_business_clock():
    assert firm_clock(Timeline(((date.min, None),))) is None


def test_hours_that_never_come_are_never_reached():
    closed = clock([])
    assert closed.add(at("2026-07-01T00:00"), 1) is None
    assert closed.add(at("2026-07-01T00:00"), 0) == at("2026-07-01T00:00")


def test_adding_stops_at_the_first_instant_that_has_the_seconds():
    """Eight hours are full when the office closes, not when it opens again."""
    opens = at("2026-07-15T13:00")
    assert clock().add(opens, 8 * HOUR) == at("2026-07-15T21:00")
    assert clock().add(opens, 8 * HOUR + 1) == at("2026-07-16T13:00:01")
    assert clock().add(at("2026-07-17T21:00"), 1) == at("2026-07-20T13:00:01")


def test_union_joins_what_touches_and_drops_what_is_empty():
    a, b, c, d = (at(f"2026-07-01T0{n}:00") for n in range(1, 5))
    assert union([Interval(c, d), Interval(a, b), Interval(b, b), Interval(b, c)]) == (
        Interval(a, d),
    )
    assert union([Interval(a, a), Interval(c, b)]) == ()


WEEKDAYS = st.integers(1, 7)
SLOTS = st.builds(
    Slot,
    weekday=WEEKDAYS,
    start=st.integers(0, 23).map(lambda hour: f"{hour:02}:30"),
    minutes=st.sampled_from([30, 180, 480, 1_440]),
)
INSTANTS = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)).map(  # noqa: DTZ001 (made UTC)
    lambda moment: moment.replace(tzinfo=UTC, microsecond=0)
)
CLOCKS = st.builds(
    lambda chosen, zone, closed: clock(chosen, zone, closed=closed),
    st.lists(SLOTS, max_size=6),
    st.sampled_from([*ZONES, "Asia/Manila", "Asia/Kolkata", "Australia/Lord_Howe"]),
    st.lists(st.dates(date(2026, 1, 1), date(2026, 12, 31)), max_size=5),
)


@given(CLOCKS, st.tuples(INSTANTS, INSTANTS, INSTANTS).map(sorted))
def test_business_time_adds_up_and_never_exceeds_the_wall(business: BusinessClock, instants):
    a, b, c = instants
    whole = business.within(a, c)
    assert whole == business.within(a, b) + business.within(b, c)
    assert 0 <= whole <= (c - a).total_seconds()
    assert business.within(c, a) == 0


@given(CLOCKS, INSTANTS, st.integers(1, 200_000))
def test_adding_is_the_inverse_of_counting(business: BusinessClock, start, seconds):
    end = business.add(start, seconds)
    if end is None:
        assert business.within(start, start + timedelta(days=3_650)) < seconds
    else:
        assert business.within(start, end) == seconds
        assert business.within(start, end - timedelta(seconds=1)) == seconds - 1


@given(
    CLOCKS,
    CLOCKS,
    st.dates(date(2026, 1, 1), date(2026, 12, 31)),
    st.tuples(INSTANTS, INSTANTS, INSTANTS, INSTANTS).map(sorted),
)
def test_hours_laid_out_once_count_every_part_the_same(first, second, since, instants):
    then = replace(second.versions[0], since=since)
    business = BusinessClock((first.versions[0], then))
    start, a, b, end = instants
    laid_out = business.lay_out(start, end)
    for since_, until in ((start, end), (a, b), (start, a), (b, end), (b, a)):
        assert laid_out.within(since_, until) == business.within(since_, until)
