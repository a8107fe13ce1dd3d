"""Instants and dates as events carry them: RFC 3339 texts with an offset, and YYYY-MM-DD."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

DateT = TypeVar("DateT", bound=date)
YEARS = range(1970, 2200)  # within these no zone, shift or sum of days leaves what datetime holds
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})",
)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def check_instant_text(value: object) -> object:
    """Refuse a text that is no RFC 3339 instant with an offset; what is no text passes on."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise PydanticCustomError("time_offset", "an instant needs an offset")
        return value
    if not isinstance(value, str) or _RFC3339.fullmatch(value) is None:
        raise PydanticCustomError(
            "time_format", "give an RFC 3339 instant with an offset, like 2026-07-01T09:00:00+08:00"
        )
    return value


def check_day_text(value: object) -> object:
    """Refuse what is no date; a text must be YYYY-MM-DD and no more."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not isinstance(value, str) or _DAY.fullmatch(value) is None:
        raise PydanticCustomError("date_format", "give a date like 2026-07-01")
    return value


def check_year(value: DateT) -> DateT:
    """Refuse a date or an instant outside the years that we reckon with."""
    if value.year not in YEARS:
        raise PydanticCustomError("year_range", "give a year from 1970 to 2199")
    return value


Instant = Annotated[
    datetime,
    BeforeValidator(check_instant_text, json_schema_input_type=datetime),
    AfterValidator(check_year),
    Field(strict=False),
]
Day = Annotated[
    date,
    BeforeValidator(check_day_text, json_schema_input_type=date),
    AfterValidator(check_year),
    Field(strict=False),
]


def whole_second(instant: datetime) -> datetime:
    """Cut an instant to its whole second, in UTC: elapsed time is taken between these only."""
    return instant.astimezone(UTC).replace(microsecond=0)


def instant_text(instant: datetime) -> str:
    """Write an instant as RFC 3339 in UTC; microseconds only when there are any."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
