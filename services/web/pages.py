"""Pages of a list: a cursor names the place of the last row shown, whatever has come since."""

import base64
import json
from collections.abc import Sequence
from datetime import date

from aiohttp import web

from services.web.problems import Fault, Problem


def write_cursor(place: Sequence[str]) -> str:
    """Write where a page ends, as the parts by which the list is in order."""
    raw = json.dumps(place, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_cursor(cursor: str, parts: int) -> tuple[str, ...]:
    """Read a cursor of so many parts. Raises Problem 422 for one that no page gave."""
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if [type(part) for part in found] == [str] * parts and "".join(found).isprintable():
            return tuple(found)
    except (ValueError, TypeError, RecursionError):
        pass
    raise bad_cursor()


def read_dated(cursor: str, parts: int) -> tuple[date, tuple[str, ...]]:
    """Read a cursor of so many parts, the first of them a date. Raises Problem 422."""
    day, *others = read_cursor(cursor, parts)
    try:
        return date.fromisoformat(day), tuple(others)
    except ValueError:
        raise bad_cursor() from None


def bad_cursor() -> Problem:
    """Refuse a cursor that no page gave."""
    return Problem(
        422,
        "invalid_query",
        "The query is not what this call takes",
        errors=[Fault("/query/cursor", "bad_cursor", "the `next` of a page of this call")],
    )


def next_link(request: web.Request, following: str | None) -> dict[str, str]:
    """Give the header that names the next page, if there is one."""
    if following is None:
        return {}
    return {"Link": f'<{request.rel_url.update_query(cursor=following)}>; rel="next"'}
