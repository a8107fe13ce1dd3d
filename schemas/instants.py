"""Instants and dates as events carry them: RFC 3339 texts with an offset, and YYYY-MM-DD."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

DateT = TypeVar("DateT", bound=date)
YEARS = range(1970, 2200)  # within these no zone, shift or sum of days leaves what datetime holds
_YEARS = "^(19[7-9]|20[0-9]|21[0-9])"  # the same, as a text begins
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})",
)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME_FORMAT = (
    "time_format",
    "give an RFC 3339 instant with an offset, like 2026-07-01T09:00:00+08:00",
)
_DATE_FORMAT = ("date_format", "give a date like 2026-07-01")
_YEAR_RANGE = ("year_range", "give a year from 1970 to 2199")


def check_instant_text(value: object) -> object:
    """Refuse a text that is no RFC 3339 instant with an offset; what is no text passes on."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise PydanticCustomError("time_offset", "an instant needs an offset")
        return value
    if not isinstance(value, str) or _RFC3339.fullmatch(value) is None:
        raise PydanticCustomError(*_TIME_FORMAT)
    return value


def check_day_text(value: object) -> object:
    """Refuse what is no date; a text must be YYYY-MM-DD and no more."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not isinstance(value, str) or _DAY.fullmatch(value) is None:
        raise PydanticCustomError(*_DATE_FORMAT)
    return value


def check_year(value: DateT) -> DateT:
    """Refuse a date or an instant outside the years that we reckon with."""
    if value.year not in YEARS:
        raise PydanticCustomError(*_YEAR_RANGE)
    return value


@dataclass(frozen=True, eq=False)
class _QuickInJson:
    """The same checks inside pydantic's core, for JSON: an event has several of these texts."""

    form: "re.Pattern[str]"
    refusal: tuple[str, str]
    parsed: CoreSchema

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check form, then years, then the value; from Python, ask the functions beside this."""

        def matching(pattern: str, refusal: tuple[str, str]) -> CoreSchema:
            return core_schema.custom_error_schema(
                core_schema.str_schema(pattern=pattern, strict=True),
                custom_error_type=refusal[0],
                custom_error_message=refusal[1],
            )

        steps = [
            matching(f"^{self.form.pattern}$", self.refusal),
            matching(_YEARS, _YEAR_RANGE),
            self.parsed,
        ]
        return core_schema.json_or_python_schema(core_schema.chain_schema(steps), handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the value, not the steps to it."""
        return handler(schema["python_schema"])


Instant = Annotated[
    datetime,
    BeforeValidator(check_instant_text, json_schema_input_type=datetime),
    AfterValidator(check_year),
    Field(strict=False),
    _QuickInJson(_RFC3339, _TIME_FORMAT, core_schema.datetime_schema(strict=False)),
]
Day = Annotated[
    date,
    BeforeValidator(check_day_text, json_schema_input_type=date),
    AfterValidator(check_year),
    Field(strict=False),
    _QuickInJson(_DAY, _DATE_FORMAT, core_schema.date_schema(strict=False)),
]


def whole_second(instant: datetime) -> datetime:
    """Cut an instant to its whole second, in UTC: elapsed time is taken between these only."""
    return instant.astimezone(UTC).replace(microsecond=0)


def instant_text(instant: datetime) -> str:
    """Write an instant as RFC 3339 in UTC; microseconds only when there are any."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
