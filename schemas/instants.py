"""Instants: RFC 3339 texts with an offset, as the envelope and the data of events carry them."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})",
)


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


Instant = Annotated[datetime, BeforeValidator(check_instant_text), Field(strict=False)]


def whole_second(instant: datetime) -> datetime:
    """Cut an instant to its whole second, in UTC: elapsed time is taken between these only."""
    return instant.astimezone(UTC).replace(microsecond=0)


def instant_text(instant: datetime) -> str:
    """Write an instant as RFC 3339 in UTC; microseconds only when there are any."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
