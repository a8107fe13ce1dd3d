"""The edge cases of time and money that others got wrong, each with the right result."""

from dataclasses import replace
from datetime import date

import pytest
from pydantic import ValidationError

from schemas.periods import Month
from services.billing.books import OtherSpan
from services.billing.invoices import issued_lines
from tests.billing.story import (
    Story,
    a_firm,
    a_placement,
    a_rate,
    at,
    bucket,
    held,
    month,
    shown,
    terms,
    timeline,
)

# Work is `start/end`, or `count x minutes` of entries without clock times on the first of the
# month. Expected: minutes and amount by service month.
CASES = """
case                                   | zone                | rate   | work                                              | expected
1  spring forward                      | America/New_York    | 15.00  | 2026-03-08T01:00-05:00/2026-03-08T04:00-04:00     | 2026-03 120 30.00
2  fall back                           | America/New_York    | 15.00  | 2026-11-01T00:30-04:00/2026-11-01T03:30-05:00     | 2026-11 240 60.00
3  stop in the hour that comes again   | America/New_York    | 15.00  | 2026-11-01T01:30-04:00/2026-11-01T01:15-05:00     | 2026-11 45 11.25
5  Manila's morning, New York's night  | America/New_York    | 15.00  | 2026-08-01T09:00+08:00/2026-08-01T15:00+08:00     | 2026-07 180 45.00, 2026-08 180 45.00
5  Manila's morning, Los Angeles' day  | America/Los_Angeles | 15.00  | 2026-08-01T09:00+08:00/2026-08-01T15:00+08:00     | 2026-07 360 90.00
6  a month's end and a clock's change  | America/New_York    | 15.00  | 2026-11-01T11:30+08:00/2026-11-01T16:30+08:00     | 2026-10 30 7.50, 2026-11 270 67.50
7  the last second of March            | America/New_York    | 15.00  | 2026-04-01T03:59:00+00:00/2026-04-01T04:00:00+00:00 | 2026-03 1 0.25
7  the first second of April           | America/New_York    | 15.00  | 2026-04-01T04:00:00+00:00/2026-04-01T04:01:00+00:00 | 2026-04 1 0.25
16 seven minutes, 120 times            | America/New_York    | 12.35  | 120 x 7                                           | 2026-07 840 172.90
16 half an hour, 200 times             | America/New_York    | 12.25  | 200 x 30                                          | 2026-07 6000 1225.00
17 hours that no two decimals show     | America/New_York    | 18.00  | 1 x 380                                           | 2026-07 380 114.00
17 25 minutes                          | America/New_York    | 34.34  | 1 x 25                                            | 2026-07 25 14.31
17 a half rounds away from zero        | America/New_York    | 15.25  | 1 x 30                                            | 2026-07 30 7.63
18 a rate of three places              | America/New_York    | 13.125 | 1 x 480                                           | 2026-07 480 105.00
"""  # noqa: E501  a table is read by its columns


def rows_of(table):
    lines = [line for line in table.strip().splitlines() if line.strip()]
    return [tuple(cell.strip() for cell in line.split("|")) for line in lines[1:]]


@pytest.mark.parametrize(
    ("zone", "rate", "work", "expected"),
    [pytest.param(*row[1:], id=row[0]) for row in rows_of(CASES)],
)
def test_work_is_billed_in_its_month_to_the_cent(zone, rate, work, expected):
    story = Story(firm=a_firm(zone), card=(a_rate("r-1", rate),))
    if "/" in work:
        story.record("e-1", work)
    else:
        count, minutes = work.split(" x ")
        # Days apart, so that nobody works more than a day a day.
        for number in range(int(count)):
            story.record(f"e-{number}", f"2026-07-{number % 28 + 1:02} {minutes}")
    for told in expected.split(", "):
        service_month, minutes, amount = told.split()
        line = f"{service_month} p-1 r-1 regular {int(minutes) * 60} s {amount}"
        assert shown(story.draft(service_month))[:1] == [line]
        story.issue(service_month)
    assert [told.split()[0] for told in expected.split(", ")] == [str(m) for m in story.settled]


def test_case_4_a_local_time_without_offset_is_no_instant():
    with pytest.raises(ValidationError):
        Story().tell(
            "turnsheet.time.recorded.v1",
            "e-1",
            at("2026-03-08T04:00-04:00"),
            started_at="2026-03-08T02:30:00",
            ended_at="2026-03-08T03:30:00",
            task_type="intake",
            kind="work",
            billable=True,
        )


@pytest.mark.parametrize(("text", "hours"), [("2026-03", 743), ("2026-11", 721), ("2026-07", 744)])
def test_case_7_a_month_has_the_hours_that_its_zone_gives_it(text, hours):
    since, until = month(text).bounds("America/New_York")
    assert (until - since).total_seconds() == hours * 3600


def test_case_8_amended_after_issue_adjusts_by_new_less_old():
    story = Story(card=(a_rate("r-1", "15.25"),))
    story.record("e-1", "2026-07-06T09:00-04:00/2026-07-06T12:00-04:00")
    july = story.issue("2026-07")
    story.amend("e-1", 1, "2026-07-06T09:00-04:00/2026-07-06T11:30-04:00")
    story.record("e-2", "2026-08-03T09:00-04:00/2026-08-03T12:00-04:00")
    made = story.draft("2026-08")
    assert shown(made) == [
        "2026-08 p-1 r-1 regular 10800 s 45.75",
        "2026-07 p-1 r-1 adjustment -1800 s -7.62",
    ]
    adjustment = made.lines[1]
    assert (adjustment.old.amount_minor, adjustment.new.amount_minor) == (4575, 3813)
    assert adjustment.original == issued_lines(july)[0].origin
    assert made.total_minor == 3813


def test_case_9_july_work_that_comes_in_august_has_julys_date_and_rate():
    story = Story(card=(a_rate("r-1", "15.00", valid_to=date(2026, 8, 1)),))
    story.record("e-1", "2026-07-06T09:00-04:00/2026-07-06T10:00-04:00")
    story.issue("2026-07")
    story.card += (a_rate("r-2", "16.00", valid_from=date(2026, 8, 1)),)
    story.record("e-2", "2026-07-31T09:00-04:00/2026-07-31T10:00-04:00")
    story.record("e-3", "2026-08-03T09:00-04:00/2026-08-03T10:00-04:00")
    made = story.draft("2026-08")
    assert shown(made) == [
        "2026-08 p-1 r-2 regular 3600 s 16.00",
        "2026-07 p-1 r-1 adjustment 3600 s 15.00",
    ]
    assert [row.service_date for row in made.lines[1].rows] == [date(2026, 7, 31)]


def test_case_10_a_rate_that_changes_at_midnight_cuts_the_night_in_two_lines():
    old = a_rate("r-old", "12.00", valid_to=date(2026, 8, 16))
    new = a_rate("r-new", "13.00", valid_from=date(2026, 8, 16))
    story = Story(card=(new, old))
    story.record("e-1", "2026-08-15T22:00-04:00/2026-08-16T02:00-04:00")
    assert shown(story.draft("2026-08")) == [
        "2026-08 p-1 r-old regular 7200 s 24.00",
        "2026-08 p-1 r-new regular 7200 s 26.00",
    ]


def test_case_11_a_rate_that_is_corrected_for_an_issued_month_rewrites_nothing():
    story = Story()
    story.record("e-1", "2026-07-06T09:00-04:00/2026-07-06T12:00-04:00")
    story.issue("2026-07")
    story.card = (a_rate("r-1-corrected", "20.00"),)
    assert shown(story.draft("2026-08")) == []
    story.amend("e-1", 1, "2026-07-06T09:00-04:00/2026-07-06T13:00-04:00")
    story.record("e-2", "2026-07-07T09:00-04:00/2026-07-07T10:00-04:00")
    assert shown(story.draft("2026-08")) == ["2026-07 p-1 r-1 adjustment 7200 s 30.00"]


@pytest.mark.parametrize(
    ("other", "reasons"),
    [
        (("2026-07-06T10:00-04:00", "2026-07-06T12:00-04:00"), ["2026-07 e-1 overlap 7200"]),
        (("2026-07-06T11:00-04:00", "2026-07-06T12:00-04:00"), []),
    ],
    ids=["crossing", "touching"],
)
def test_case_12_work_for_two_firms_at_once_is_held(other, reasons):
    since, until = (at(text) for text in other)
    story = Story(other_spans=(OtherSpan("a-1", since, until),))
    story.record("e-1", "2026-07-06T09:00-04:00/2026-07-06T11:00-04:00")
    assert held(story.draft("2026-07")) == reasons


def test_case_13_a_month_without_hours_has_no_document():
    made = Story().draft("2026-07")
    assert (made.outcome, made.lines) == ("nothing_due", ())
    assert bucket(made, "2026-07") == {"worked": 0, "billed": 0}


@pytest.mark.parametrize(
    ("direction", "minutes", "hours"),
    [
        ("up", [0, 1, 6, 7, 13, 61], [0, 1, 1, 2, 3, 11]),
        ("nearest", [5, 8], [1, 1]),
    ],
)
def test_case_14_tenths_of_an_hour_per_entry(direction, minutes, hours):
    story = Story(
        card=(a_rate("r-1", "10.00"),),
        terms=(terms(minutes=6, direction=direction),),
    )
    for number, worked in enumerate(minutes):
        story.record(f"e-{number}", f"2026-07-{number + 1:02} {worked}")
    made = story.draft("2026-07")
    assert [row.rounded_seconds // 360 for row in made.lines[0].rows] == [h for h in hours if h]
    assert made.total_minor == sum(hours) * 100
    assert made.lines[0].new.seconds == sum(minutes) * 60


def test_case_15_four_short_calls_a_day_are_four_tenths_per_entry():
    story = Story(card=(a_rate("r-1", "10.00"),), terms=(terms(minutes=6),))
    for number in range(4):
        story.record(f"e-{number}", "2026-07-06 3")
    assert story.draft("2026-07").total_minor == 400


def test_case_19_work_after_the_placements_end_is_held_and_not_dropped():
    ended = a_placement(ended_at=at("2026-08-14T13:00-04:00"))
    story = Story(placements={"p-1": ended})
    story.record("e-1", "2026-08-14T12:30-04:00/2026-08-14T14:00-04:00")
    made = story.draft("2026-08")
    assert shown(made) == ["2026-08 p-1 r-1 regular 1800 s 7.50"]
    assert held(made) == ["2026-08 e-1 outside_placement 3600"]
    assert bucket(made, "2026-08", if_issued=True) == {
        "worked": 5400,
        "billed": 1800,
        "outside_placement": 3600,
    }


def test_case_22_one_event_sent_five_times_is_counted_once():
    story = Story()
    for _ in range(5):
        story.record("e-1", "2026-07-06T09:00-04:00/2026-07-06T10:00-04:00", fact_id="same")
    assert shown(story.draft("2026-07")) == ["2026-07 p-1 r-1 regular 3600 s 15.00"]


def test_case_23_three_countries_each_at_its_rate():
    story = Story(
        placements={
            f"p-{country}": a_placement(f"p-{country}", f"a-{country}", country)
            for country in ("PH", "CO", "MX")
        },
        card=(
            a_rate("r-PH", "12.00", "PH"),
            a_rate("r-CO", "15.50", "CO"),
            a_rate("r-MX", "16.25", "MX"),
        ),
    )
    for country, minutes in (("PH", 9_600), ("CO", 9_480), ("MX", 4_807)):
        for number in range(20):
            share = minutes // 20 + (number < minutes % 20)
            day = f"2026-07-{number + 1:02} {share}"
            story.record(f"{country}-{number}", day, placement_id=f"p-{country}")
    made = story.draft("2026-07")
    assert shown(made) == [
        "2026-07 p-CO r-CO regular 568800 s 2449.00",
        "2026-07 p-MX r-MX regular 288420 s 1301.90",
        "2026-07 p-PH r-PH regular 576000 s 1920.00",
    ]
    assert made.total_minor == 567_090


def test_case_25_one_line_is_rounded_once():
    story = Story(card=(a_rate("r-1", "13.20"),))
    for number in range(3):
        since = at(f"2026-07-0{number + 1}T09:00:00-04:00")
        until = since.replace(minute=20, second=10)
        story.record(f"e-{number}", f"{since.isoformat()}/{until.isoformat()}")
    assert shown(story.draft("2026-07")) == ["2026-07 p-1 r-1 regular 3630 s 13.31"]


def test_case_26_an_assistant_who_moves_country_has_two_lines():
    moved = replace(a_placement(), countries=timeline("PH", ("2026-07-16", "MX")))
    story = Story(
        placements={"p-1": moved},
        card=(a_rate("r-PH", "12.00", "PH"), a_rate("r-MX", "16.00", "MX")),
    )
    story.record("e-1", "2026-07-15T22:00-04:00/2026-07-16T02:00-04:00")
    made = story.draft("2026-07")
    assert shown(made) == [
        "2026-07 p-1 r-PH regular 7200 s 24.00",
        "2026-07 p-1 r-MX regular 7200 s 32.00",
    ]
    assert [line.stamp.country for line in made.lines] == ["PH", "MX"]
    assert [line.key.service_month for line in made.lines] == [Month(2026, 7)] * 2
