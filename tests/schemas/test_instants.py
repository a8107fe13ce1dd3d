"""Instants and dates: exact texts only, and none that no reckoning could hold."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.instants import Day, Instant, instant_text, whole_second

INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)
DAY: TypeAdapter[date] = TypeAdapter(Day)
MANILA = timezone(timedelta(hours=8))


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-07-01T09:00:00Z", datetime(2026, 7, 1, 9, tzinfo=UTC)),
        ("2026-07-01t09:00:00z", datetime(2026, 7, 1, 9, tzinfo=UTC)),
        ("2026-07-01T09:00:00+08:00", datetime(2026, 7, 1, 9, tzinfo=MANILA)),
        ("2026-07-01T09:00:00-00:00", datetime(2026, 7, 1, 9, tzinfo=UTC)),
        ("2026-07-01T09:00:00.123456Z", datetime(2026, 7, 1, 9, 0, 0, 123456, UTC)),
        ("2026-07-01T09:00:00.123456999Z", datetime(2026, 7, 1, 9, 0, 0, 123456, UTC)),
        ("1970-01-01T00:00:00+14:00", datetime(1969, 12, 31, 10, tzinfo=UTC)),
        ("2199-12-31T23:59:59-12:00", datetime(2200, 1, 1, 11, 59, 59, tzinfo=UTC)),
    ],
)
def test_an_instant_is_read_to_the_microsecond(text, instant):
    read = INSTANT.validate_json(f'"{text}"')
    assert read == instant
    assert instant_text(read) == instant_text(instant)


@pytest.mark.parametrize(
    "text",
    [
        "2026-07-01T09:00:00",
        "2026-07-01T09:00Z",
        "2026-07-01 09:00:00Z",
        "2026-07-01",
        "2026-07-01T09:00:00,5Z",
        "2026-07-01T09:00:00.1234567890Z",
        "2026-07-01T09:00:00+0800",
        "2026-07-01T09:00:00+08",
        "2026-07-01T09:00:00Z ",
        "2026-07-01T24:00:00Z",
        "2026-07-01T09:00:60Z",
        "2026-02-29T09:00:00Z",
        "2026-07-01T09:00:00+24:00",
        "+2026-07-01T09:00:00Z",
        "1782867600",
        "\u0662026-07-01T09:00:00Z",
        "1969-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "0001-01-01T00:00:00+08:00",
        "9999-12-31T23:59:59-08:00",
    ],
)
def test_what_is_no_full_instant_of_our_years_is_refused(text):
    with pytest.raises(ValidationError):
        INSTANT.validate_json(f'"{text}"')


@pytest.mark.parametrize("raw", ["0", "1782867600", "true", "null", "[]"])
def test_a_number_is_no_instant_and_no_date(raw):
    with pytest.raises(ValidationError):
        INSTANT.validate_json(raw)
    with pytest.raises(ValidationError):
        DAY.validate_json(raw)


def test_a_naive_datetime_is_refused_in_python_too():
    with pytest.raises(ValidationError):
        INSTANT.validate_python(datetime(2026, 7, 1, 9))  # noqa: DTZ001 (that is the case)


@pytest.mark.parametrize("text", ["1970-01-01", "2026-07-01", "2199-12-31", "2028-02-29"])
def test_a_date_is_its_ten_characters(text):
    assert DAY.validate_json(f'"{text}"').isoformat() == text


@pytest.mark.parametrize(
    "text",
    ["1969-12-31", "2200-01-01", "2026-7-1", "20260701", "2026-07-01T00:00:00", "2026-02-29", ""],
)
def test_another_text_is_no_date(text):
    with pytest.raises(ValidationError):
        DAY.validate_json(f'"{text}"')


def test_instants_are_cut_not_rounded_to_whole_seconds():
    late = datetime(2026, 7, 1, 9, 0, 59, 999_999, MANILA)
    assert whole_second(late) == datetime(2026, 7, 1, 1, 0, 59, tzinfo=UTC)
    assert instant_text(late) == "2026-07-01T01:00:59.999999Z"
    assert instant_text(whole_second(late)) == "2026-07-01T01:00:59Z"
