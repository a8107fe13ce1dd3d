"""Timesheets: what a firm reads and approves."""

from datetime import date
from typing import Annotated

from aiohttp import web
from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from schemas.fields import Cursor, Id, PageSize
from services.billing import store
from services.billing.api.common import Body, require_known
from services.postgres import (
    append_audit,
    firm_transaction,
    office_transaction,
)
from services.web.http import (
    FIRM_POOL,
    OFFICE_POOL,
    body_of,
    firm_view,
    json_response,
    principal_of,
    query_of,
)
from services.web.pages import next_link, read_dated, write_cursor

DAYS_MAX = 100  # approved in one call, which names every entry on them


class Pair(Body):
    """One version of an entry."""

    entry_id: Id
    version: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ApproveIn(Body):
    """What is approved: entry versions, or all that stand on some dates at this moment."""

    entries: Annotated[list[Pair], Field(max_length=10_000)] = Field(default_factory=list)
    from_date: date | None = None
    to_date: date | None = None

    @model_validator(mode="after")
    def both_dates(self) -> "ApproveIn":
        """Refuse one date without the other, dates the wrong way round, and too many of them."""
        if (self.from_date is None) != (self.to_date is None):
            raise PydanticCustomError("date_missing", "give both from_date and to_date")
        if self.from_date and self.to_date and self.to_date < self.from_date:
            raise PydanticCustomError("date_order", "to_date must not be before from_date")
        if self.from_date and self.to_date and (self.to_date - self.from_date).days >= DAYS_MAX:
            raise PydanticCustomError("span_too_long", f"approve {DAYS_MAX} days at most")
        return self


class TimesheetQuery(Body):
    """Which service dates, the last one included, and which page of them."""

    from_: date = Field(alias="from")
    to: date
    limit: PageSize = 100
    cursor: Cursor | None = None

    @model_validator(mode="after")
    def in_order(self) -> "TimesheetQuery":
        """Refuse dates the wrong way round."""
        if self.to < self.from_:
            raise PydanticCustomError("date_order", "to must not be before from")
        return self


async def get_timesheets(request: web.Request) -> web.StreamResponse:
    """Show a firm's entries of some service dates, with the version that an approval names."""
    firm_id, asked = request.match_info["firm"], query_of(request, TimesheetQuery)
    place = (asked.from_, ("",)) if asked.cursor is None else read_dated(asked.cursor, 2)
    since, (entry_id,) = place
    async with firm_view(request, firm_id, "read_timesheets") as conn:
        await require_known(conn, firm_id)
        rows = await store.list_timesheet(
            conn, firm_id, asked.from_, asked.to, (since, entry_id), asked.limit + 1
        )
    page = rows[: asked.limit]
    following = None
    if len(rows) > len(page):
        following = write_cursor((page[-1]["service_date"].isoformat(), page[-1]["entry_id"]))
    entries = [{**row, "service_date": row["service_date"].isoformat()} for row in page]
    return json_response(
        request,
        {"entries": entries, "next": following},
        headers=next_link(request, following),
    )


async def approve_timesheets(request: web.Request) -> web.StreamResponse:
    """Approve entry versions, or all that stand on some dates, expanded at this moment."""
    firm_id, told = request.match_info["firm"], body_of(request, ApproveIn)
    principal = principal_of(request)
    opened = (
        office_transaction(request.app[OFFICE_POOL], principal, "approve_time", firm_id=firm_id)
        if principal.sees_all_firms
        else firm_transaction(request.app[FIRM_POOL], firm_id)
    )
    async with opened as conn:
        await require_known(conn, firm_id)
        pairs = {(pair.entry_id, pair.version) for pair in told.entries}
        if told.from_date is not None and told.to_date is not None:
            pairs |= await store.list_versions(conn, firm_id, told.from_date, told.to_date)
        await store.append_approvals(conn, firm_id, sorted(pairs), actor=principal.id)
        if not principal.sees_all_firms:
            await append_audit(
                conn, principal, "approve_time", subject=f"{len(pairs)} entries", firm_id=firm_id
            )
    return json_response(request, {"approved": len(pairs)})
