"""Days, weeks and months of a zone, over every change of its clock."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.periods import Month, Week, day_start, local_date
from tests.schemas.histories import at

NEW_YORK = "America/New_York"
ZONES = [
    NEW_YORK,
    "America/Chicago",
    "America/Denver",
    "America/Phoenix",
    "America/Los_Angeles",
    "Asia/Manila",
    "Asia/Kolkata",
    "America/Mexico_City",
    "America/Bogota",
    "America/Argentina/Buenos_Aires",
    "America/Santiago",  # sets its clocks at midnight
    "Africa/Cairo",
    "America/Havana",
    "America/St_Johns",  # until 2011 one minute after midnight
    "Pacific/Apia",  # skipped a whole day
    "Australia/Lord_Howe",  # by half an hour
    "America/Sao_Paulo",
    "Asia/Amman",
]
INSTANTS = st.integers(0, 66 * 366 * 86_400).map(
    lambda seconds: at("1971-01-01T00:00:00Z") + timedelta(seconds=seconds)
)
DATES = st.dates(date(1971, 1, 1), date(2036, 12, 31))


def hours(bounds):
    start, end = bounds
    return (end - start).total_seconds() / 3600


@pytest.mark.parametrize(
    ("month", "zone", "length"),
    [
        ("2026-03", NEW_YORK, 743),
        ("2026-11", NEW_YORK, 721),
        ("2026-07", NEW_YORK, 744),
        ("2026-02", NEW_YORK, 672),
        ("2028-02", NEW_YORK, 696),
        ("2026-03", "America/Phoenix", 744),
        ("2026-11", "Asia/Manila", 720),
    ],
)
def test_a_month_has_the_hours_that_its_clock_goes_through(month, zone, length):
    assert hours(Month.parse(month).bounds(zone)) == length


def test_a_month_is_half_open_in_its_zone():
    march, april = Month(2026, 3), Month(2026, 4)
    last, first = at("2026-04-01T03:59:59Z"), at("2026-04-01T04:00:00Z")

    assert Month.of(local_date(last, NEW_YORK)) == march
    assert Month.of(local_date(first, NEW_YORK)) == april
    assert march.bounds(NEW_YORK) == (at("2026-03-01T05:00Z"), first)
    assert april.bounds(NEW_YORK)[0] == first


@pytest.mark.parametrize(
    ("week", "length"), [("2026-W10", 167), ("2026-W44", 169), ("2026-W28", 168)]
)
def test_a_week_has_the_hours_that_its_clock_goes_through(week, length):
    assert hours(Week.parse(week).bounds(NEW_YORK)) == length


@pytest.mark.parametrize(
    ("day", "week"),
    [
        (date(2026, 7, 6), "2026-W28"),
        (date(2026, 7, 12), "2026-W28"),
        (date(2026, 12, 31), "2026-W53"),
        (date(2027, 1, 3), "2026-W53"),
        (date(2027, 1, 4), "2027-W01"),
        (date(2024, 12, 30), "2025-W01"),
    ],
)
def test_a_week_is_that_of_iso_8601(day, week):
    assert str(Week.of(day)) == week
    assert Week.parse(week).first_date <= day < Week.parse(week).end_date


def test_periods_follow_each_other():
    assert Month(2026, 12).next() == Month(2027, 1)
    assert Month(2027, 1).previous() == Month(2026, 12)
    assert Month(2026, 7).next().previous() == Month(2026, 7)
    assert Week(2026, 53).next() == Week(2027, 1)
    assert Week(2027, 1).previous() == Week(2026, 53)
    assert sorted([Month(2027, 1), Month(2026, 12)]) == [Month(2026, 12), Month(2027, 1)]
    assert sorted([Week(2027, 1), Week(2026, 53)]) == [Week(2026, 53), Week(2027, 1)]
    assert (Month(2026, 12).first_date, Month(2026, 12).end_date) == (
        date(2026, 12, 1),
        date(2027, 1, 1),
    )


@pytest.mark.parametrize(
    "text",
    [
        "2026-7",
        "2026-13",
        "2026-00",
        "26-07",
        "2026-07-01",
        "2026/07",
        "",
        "\u0662\u0660\u0662\u0666-07",
        "0000-01",
        "9999-12",
        "2026-07\n",
    ],
)
def test_what_is_no_month_is_refused(text):
    with pytest.raises(ValueError, match=r"month|year"):
        Month.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-W7",
        "2026-W54",
        "2025-W53",
        "2026-W00",
        "2026W28",
        "2026-28",
        "",
        "0000-W01",
        "9999-W52",
    ],
)
def test_what_is_no_week_is_refused(text):
    with pytest.raises(ValueError, match=r"week|year"):
        Week.parse(text)


@given(DATES)
def test_a_period_reads_back_as_it_was_written(day):
    assert Month.parse(str(Month.of(day))) == Month.of(day)
    assert Week.parse(str(Week.of(day))) == Week.of(day)


@pytest.mark.parametrize(
    ("zone", "day", "start"),
    [
        (NEW_YORK, "2026-03-08", "2026-03-08T05:00Z"),
        (NEW_YORK, "2026-03-09", "2026-03-09T04:00Z"),
        ("Asia/Manila", "2026-08-01", "2026-07-31T16:00Z"),
        # no midnight: the clock goes from 24:00 to 01:00
        ("America/Santiago", "2026-09-06", "2026-09-06T04:00Z"),
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00Z"),
        # midnight comes twice: from 01:00 back to 00:00
        ("America/Havana", "2026-11-01", "2026-11-01T04:00Z"),
        # from 24:00 back to 23:00: the day before is longer
        ("America/Santiago", "2026-04-05", "2026-04-05T04:00Z"),
        # from 00:01 back to 23:01: the new day has begun, and goes on
        ("America/St_Johns", "2010-11-07", "2010-11-07T02:30Z"),
        # midnight lies inside the gap, not at its start: from 23:30 to 00:30
        ("America/Toronto", "1919-03-31", "1919-03-31T04:30Z"),
        # the 30th was skipped: it is empty
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00Z"),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00Z"),
    ],
)
def test_a_day_starts_at_its_first_instant(zone, day, start):
    assert day_start(date.fromisoformat(day), zone) == at(start)


def test_an_hour_set_back_over_midnight_belongs_to_the_day_that_had_begun():
    zone = "America/St_Johns"
    back_at_2301 = at("2010-11-07T02:31:00Z")

    assert back_at_2301.astimezone(ZoneInfo(zone)).date() == date(2010, 11, 6)
    assert local_date(back_at_2301, zone) == date(2010, 11, 7)


@settings(max_examples=500)
@given(instant=INSTANTS, zone=st.sampled_from(ZONES))
def test_every_instant_lies_in_its_local_date_and_in_no_other(instant, zone):
    day = local_date(instant, zone)

    assert day_start(day, zone) <= instant < day_start(day + timedelta(days=1), zone)


@settings(max_examples=500)
@given(day=DATES, zone=st.sampled_from(ZONES))
def test_a_day_starts_where_its_date_is_first_shown(day, zone):
    start = day_start(day, zone)
    shown = [
        moment.astimezone(ZoneInfo(zone)).date() for moment in (start - timedelta(seconds=1), start)
    ]

    assert shown[0] < day <= shown[1]
    assert start <= day_start(day + timedelta(days=1), zone)
