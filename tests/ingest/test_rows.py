"""Exports are read by their columns' names; what is wrong with a row is told with its line."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from services.ingest.imports import read_stints
from services.ingest.rows import FileRefused, RowRefused, Stint, at_zone
from tests.ingest.exports import CLOCKIFY, TOGGL, clockify, file_of, toggl

NINE = datetime(2026, 7, 1, 9)  # noqa: DTZ001 (a clock time, whose zone the file does not tell)
TEN = datetime(2026, 7, 1, 10)  # noqa: DTZ001 (the same)
MARIA = Stint(
    line=2,
    user="Maria",
    email="maria@example.com",
    client="Hartwell",
    project="Intake",
    task="",
    tags=(),
    billable=True,
    started=NINE,
    ended=TEN,
)


def codes(raw, form):
    return [
        (row.line, row.code if isinstance(row, RowRefused) else None)
        for row in read_stints(raw, form)
    ]


def refused_file(raw, form):
    with pytest.raises(FileRefused) as met:
        read_stints(raw, form)
    return met.value.code, met.value.line


def test_a_toggl_row_is_read():
    assert read_stints(file_of(TOGGL, toggl()), "toggl") == [MARIA]


def test_a_clockify_row_is_read_on_both_clocks():
    rows = [
        clockify(),
        clockify("07/01/2026 09:00 AM", "07/01/2026 10:00 AM"),
        clockify("07/01/2026 09:00:00", "07/01/2026 10:00:00"),
        clockify("07/01/2026 9:00:00 am", "07/01/2026 10:00:00am"),
    ]
    stints = read_stints(file_of(CLOCKIFY, *rows), "clockify")
    assert [(s.started, s.ended) for s in stints if isinstance(s, Stint)] == [(NINE, TEN)] * 4


@pytest.mark.parametrize(
    ("clock", "hour"), [("12:00:00 AM", 0), ("12:30 PM", 12), ("11:59:59 PM", 23), ("00:00:00", 0)]
)
def test_noon_and_midnight_of_the_twelve_hour_clock(clock, hour):
    raw = file_of(CLOCKIFY, clockify(f"07/01/2026 {clock}", "07/02/2026 11:00 PM"))
    [stint] = read_stints(raw, "clockify")
    assert isinstance(stint, Stint)
    assert stint.started.hour == hour


def test_a_byte_order_mark_blank_lines_and_strange_columns_do_no_harm():
    header = TOGGL + ",Amount (USD)"
    raw = b"\xef\xbb\xbf" + file_of(header, "", toggl() + ",18.85", ",,,,,,,,,,,,,")
    [stint] = read_stints(raw, "toggl")
    assert isinstance(stint, Stint)
    assert (stint.line, stint.started) == (3, NINE)


def test_columns_may_come_in_any_order_and_client_and_billable_may_be_absent():
    header = "End Time,End Date,Start Time,Start Date,Email,Activity"
    raw = file_of(header, "10:00:00 AM,07/01/2026,09:00:00 AM,07/01/2026,m@example.com,Calls")
    [stint] = read_stints(raw, "clockify")
    assert isinstance(stint, Stint)
    assert (stint.started, stint.ended, stint.client, stint.billable) == (NINE, TEN, "", None)
    assert (stint.person, stint.task) == ("m@example.com", "Calls")


def test_a_line_is_counted_where_its_row_begins_even_after_one_of_several_lines():
    raw = file_of(TOGGL, toggl(description="two\r\nlines"), toggl(end="2026-07-01 "), toggl())
    assert codes(raw, "toggl") == [(2, None), (4, "not_ended"), (5, None)]


TOGGL_ROWS = [
    (toggl(end=" "), "not_ended"),
    (toggl("07/01/2026 09:00:00"), "bad_time"),
    (toggl("2026-07-01 9:00:00"), "bad_time"),
    (toggl("2026-02-30 09:00:00"), "bad_time"),
    (toggl("2026-07-01 24:00:00"), "bad_time"),
    (toggl(billable="Perhaps"), "billable"),
    (toggl(user="", email=""), "no_person"),
    (toggl() + ",more", "cells"),
    ("short", "cells"),
]


@pytest.mark.parametrize(("row", "code"), TOGGL_ROWS)
def test_a_bad_row_is_told_with_its_line_and_its_neighbours_go_on(row, code):
    raw = file_of(TOGGL, toggl(), row, toggl())
    assert codes(raw, "toggl") == [(2, None), (3, code), (4, None)]


CLOCKIFY_ROWS = [
    (clockify("07/32/2026 09:00 AM"), "bad_time"),
    (clockify("02/30/2026 09:00 AM"), "bad_time"),
    (clockify("2026-07-01 09:00 AM"), "bad_time"),
    (clockify("07/01/2026 13:00 PM"), "bad_time"),
    (clockify("07/01/2026 00:30 AM"), "bad_time"),
    (clockify("07/01/2026 24:00:00"), "bad_time"),
    (clockify("07/01/2026 09:60 AM"), "bad_time"),
    (clockify(end=" "), "not_ended"),
]


@pytest.mark.parametrize(("row", "code"), CLOCKIFY_ROWS)
def test_a_bad_clockify_row_is_told_with_its_line(row, code):
    assert codes(file_of(CLOCKIFY, clockify(), row), "clockify") == [(2, None), (3, code)]


def test_a_break_is_no_work():
    header = CLOCKIFY.replace("Billable", "Type,Billable")
    row = clockify().replace(",Yes,", ",BREAK,No,")
    regular = clockify().replace(",Yes,", ",Regular,Yes,")
    assert codes(file_of(header, row, regular), "clockify") == [(2, "not_work"), (3, None)]


FILES = [
    (b"", "no_header", None),
    (b"\r\n\r\n", "no_header", None),
    (b"\xff\xfeU", "not_utf8", None),
    (file_of(TOGGL.replace("Start time", "Begin")), "missing_column", 1),
    (file_of(TOGGL.replace("User,Email", "Who,Mail")), "missing_column", 1),
    (file_of(TOGGL.replace("Client", "Project")), "doubled_column", 1),
    (file_of(TOGGL, toggl(), 'a,"b"c,d'), "bad_csv", 3),
    (file_of(TOGGL, '"never closed'), "bad_csv", 2),
    (file_of(TOGGL, "nul\x00,"), "nul", None),
    (file_of(TOGGL, '"' + "x" * 200_000 + '"'), "bad_csv", 2),
    (file_of(CLOCKIFY), "missing_column", 1),
]


@pytest.mark.parametrize(("raw", "code", "line"), FILES)
def test_a_file_that_cannot_be_taken_is_refused_as_a_whole(raw, code, line):
    assert refused_file(raw, "toggl") == (code, line)


def test_a_month_above_twelve_means_that_every_date_may_be_the_wrong_way_round():
    raw = file_of(CLOCKIFY, clockify(), clockify("31/07/2026 09:00 AM", "31/07/2026 10:00 AM"))
    assert refused_file(raw, "clockify") == ("date_format", 3)


NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("local", "told"),
    [
        ("2026-07-01T09:00:00", "2026-07-01T09:00:00-04:00"),
        ("2026-03-08T01:59:59", "2026-03-08T01:59:59-05:00"),
        ("2026-03-08T02:00:00", "skipped_time"),
        ("2026-03-08T02:59:59", "skipped_time"),
        ("2026-03-08T03:00:00", "2026-03-08T03:00:00-04:00"),
        ("2026-11-01T00:59:59", "2026-11-01T00:59:59-04:00"),
        ("2026-11-01T01:00:00", "ambiguous_time"),
        ("2026-11-01T01:59:59", "ambiguous_time"),
        ("2026-11-01T02:00:00", "2026-11-01T02:00:00-05:00"),
        ("0001-01-01T00:00:00", "year_range"),
        ("9999-12-31T23:59:59", "year_range"),
    ],
)
def test_a_local_time_says_one_moment_or_is_refused(local, told):
    moment = at_zone(datetime.fromisoformat(local), NEW_YORK)
    assert (moment if isinstance(moment, str) else moment.isoformat()) == told
