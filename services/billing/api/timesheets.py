"""Timesheets: what a firm reads and approves."""

from datetime import date
from typing import Annotated

from aiohttp import web
from pydantic import Field, StringConstraints

from schemas.fields import Id
from services.billing import store
from services.billing.api.common import Body, require_known
from services.billing.books import BookEntry
from services.postgres import (
    append_audit,
    firm_transaction,
    office_transaction,
)
from services.web.http import (
    FIRM_POOL,
    OFFICE_POOL,
    Problem,
    body_of,
    firm_view,
    json_response,
    principal_of,
    query_of,
)


class Pair(Body):
    """One version of an entry."""

    entry_id: Id
    version: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ApproveIn(Body):
    """What is approved: entry versions, or all that stand on some dates at this moment."""

    entries: Annotated[list[Pair], Field(max_length=10_000)] = Field(default_factory=list)
    from_date: date | None = None
    to_date: date | None = None


class TimesheetQuery(Body):
    """Which service dates, the last one included."""

    from_: date = Field(alias="from")
    to: date


def _service_date(book: BookEntry) -> date | None:
    return book.segments[0].service_date if book.segments else None


async def get_timesheets(request: web.Request) -> web.StreamResponse:
    """Show a firm's entries of some service dates, with the version that an approval names."""
    firm_id, asked = request.match_info["firm"], query_of(request, TimesheetQuery)
    async with firm_view(request, firm_id, "read_timesheets") as conn:
        await require_known(conn, firm_id)
        books = await store.load_entries(conn, firm_id)
        approved = await store.load_approvals(conn, firm_id, await store.read_clock(conn))
    rows = [
        {
            "entry_id": book.entry_id,
            "version": book.entry.version,
            "placement_id": book.entry.placement_id,
            "assistant_id": book.segments[0].assistant_id if book.segments else None,
            "status": book.entry.status,
            "service_date": day.isoformat(),
            "seconds": sum(segment.seconds for segment in book.segments),
            "approved": (book.entry_id, book.entry.version) in approved,
        }
        for book in books.values()
        if book.entry is not None and (day := _service_date(book)) is not None
        and asked.from_ <= day <= asked.to
    ]  # fmt: skip
    rows.sort(key=lambda row: (row["service_date"], row["entry_id"]))
    return json_response(request, {"entries": rows})


async def approve_timesheets(request: web.Request) -> web.StreamResponse:
    """Approve entry versions, or all that stand on some dates, expanded at this moment."""
    firm_id, told = request.match_info["firm"], body_of(request, ApproveIn)
    principal = principal_of(request)
    if (told.from_date is None) != (told.to_date is None):
        raise Problem(422, "approval_dates", "Give both from_date and to_date")
    opened = (
        office_transaction(request.app[OFFICE_POOL], principal, "approve_time", firm_id=firm_id)
        if principal.sees_all_firms
        else firm_transaction(request.app[FIRM_POOL], firm_id)
    )
    async with opened as conn:
        await require_known(conn, firm_id)
        pairs = {(pair.entry_id, pair.version) for pair in told.entries}
        if told.from_date is not None and told.to_date is not None:
            for book in (await store.load_entries(conn, firm_id)).values():
                day = _service_date(book)
                if book.entry is not None and day and told.from_date <= day <= told.to_date:
                    pairs.add((book.entry_id, book.entry.version))
        await store.append_approvals(conn, firm_id, sorted(pairs), actor=principal.id)
        if not principal.sees_all_firms:
            await append_audit(
                conn, principal, "approve_time", subject=f"{len(pairs)} entries", firm_id=firm_id
            )
    return json_response(request, {"approved": len(pairs)})
