"""Invoices: listed, shown, approved, issued, explained."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from schemas.fields import Cursor, Id, PageSize
from schemas.periods import Month
from services.billing import issuing, store
from services.billing.api.common import (
    Body,
    IssueIn,
    MonthText,
    find,
    invoice_out,
    office,
    request_key,
)
from services.billing.books import Document, Mismatch
from services.billing.explain import explain
from services.billing.invoices import invoice_csv, read_document
from services.billing.store import SQL
from services.postgres import (
    Connection,
    firm_transaction,
)
from services.web.http import (
    FIRM_POOL,
    Problem,
    body_of,
    bytes_response,
    json_response,
    not_found,
    path_of,
    principal_of,
    query_of,
)
from services.web.pages import next_link, read_dated, write_cursor


class InvoicesQuery(Body):
    """Which invoices, and which page of them."""

    period: MonthText | None = None
    firm_id: Id | None = None
    limit: PageSize = 100
    cursor: Cursor | None = None


class InvoiceAddress(BaseModel):
    """An invoice by its id or its number, and one of its lines."""

    model_config = ConfigDict(extra="forbid")

    invoice: Id
    line: Annotated[int, Field(ge=1, le=100_000)]


@asynccontextmanager
async def _invoice(request: web.Request, action: str) -> AsyncIterator[tuple[Connection, Any]]:
    """Open an invoice with its document as whoever may see it; another firm's is not there."""
    principal, invoice_id = principal_of(request), request.match_info["invoice"]
    if principal.sees_all_firms:
        async with office(request, action, invoice_id) as conn:
            row = await conn.fetchrow(SQL.load_invoice, invoice_id)
            if row is None:
                raise not_found()
            yield conn, row
        return
    for firm_id in sorted(principal.firms):
        async with firm_transaction(request.app[FIRM_POOL], firm_id, snapshot=True) as conn:
            row = await conn.fetchrow(SQL.load_invoice, invoice_id)
            if row is not None and row["state"] == "issued":
                yield conn, row
                return
    raise not_found()


async def list_invoices(request: web.Request) -> web.StreamResponse:
    """List invoices, the newest month first; a firm sees its issued ones."""
    asked, principal = query_of(request, InvoicesQuery), principal_of(request)
    period = Month.parse(asked.period).first_date if asked.period else None
    place = (None, ("", "")) if asked.cursor is None else read_dated(asked.cursor, 3)
    day, ids = place
    wanted = period, asked.firm_id, not principal.sees_all_firms, day, *ids, asked.limit + 1
    if principal.sees_all_firms:
        async with office(request, "list_invoices") as conn:
            rows = await conn.fetch(SQL.list_invoices, *wanted)
    else:
        rows = []
        for firm_id in principal.firms:
            async with firm_transaction(request.app[FIRM_POOL], firm_id, snapshot=True) as conn:
                rows += await conn.fetch(SQL.list_invoices, *wanted)
        rows.sort(key=lambda row: (-row["period"].toordinal(), row["firm_id"], row["invoice_id"]))
    page, following = rows[: asked.limit], None
    if len(rows) > len(page):
        last = page[-1]
        following = write_cursor((last["period"].isoformat(), last["firm_id"], last["invoice_id"]))
    return json_response(
        request,
        {"invoices": [invoice_out(row) for row in page], "next": following},
        headers=next_link(request, following),
    )


async def get_invoice(request: web.Request) -> web.StreamResponse:
    """Show an invoice with its document."""
    async with _invoice(request, "read_invoice") as (_, row):
        document = json.loads(row["body"] or row["content"])
        return json_response(request, invoice_out(row) | {"document": document})


async def get_invoice_json(request: web.Request) -> web.StreamResponse:
    """Hand out the frozen bytes."""
    async with _invoice(request, "read_invoice") as (_, row):
        return bytes_response(request, _issued(row).body, "application/json")


async def get_invoice_csv(request: web.Request) -> web.StreamResponse:
    """Hand out the lines as CSV."""
    async with _invoice(request, "read_invoice") as (_, row):
        return bytes_response(request, invoice_csv(_issued(row)), "text/csv")


def _issued(row: asyncpg.Record) -> Document:
    if row["state"] != "issued":
        raise Problem(409, "not_issued", f"This invoice is {row['state']}")
    document = read_document(row["body"])
    assert isinstance(document, Document), document
    return document


async def approve_invoice(request: web.Request) -> web.StreamResponse:
    """Approve a draft."""
    return await _decided(request, "approve_invoice", issuing.approve)


async def withdraw_invoice(request: web.Request) -> web.StreamResponse:
    """Take an approval back: a new run may then replace the draft."""
    return await _decided(request, "withdraw_invoice", issuing.withdraw)


async def _decided(
    request: web.Request, action: str, decide: Callable[..., Awaitable[None]]
) -> web.StreamResponse:
    """Let a decision about an invoice be made, and show the invoice after it."""
    request_key(request)
    invoice_id = request.match_info["invoice"]
    async with office(request, action, invoice_id) as conn:
        row = await find(conn, invoice_id)
        await decide(conn, row, actor=principal_of(request).id)
        body = invoice_out(await find(conn, row["invoice_id"]))
    return json_response(request, body)


async def issue_invoice(request: web.Request) -> web.StreamResponse:
    """Issue an approved invoice: it gets its number and never changes again."""
    request_key(request)
    told = body_of(request, IssueIn)
    invoice_id = request.match_info["invoice"]
    async with office(request, "issue_invoice", invoice_id) as conn:
        row = await find(conn, invoice_id)
        actor = principal_of(request).id
        await issuing.issue(conn, row["firm_id"], row["invoice_id"], told.invoice_date, actor=actor)
        body = invoice_out(await find(conn, row["invoice_id"]))
    return json_response(request, body)


async def explain_line(request: web.Request) -> web.StreamResponse:
    """Add a line up again from its entries, down to events and their places in the log."""
    number = path_of(request, InvoiceAddress).line
    async with _invoice(request, "explain_line") as (conn, row):
        document = _issued(row)
        earlier = await store.load_documents(conn, row["firm_id"], before=row["period"])
        told = explain(document, number, earlier)
        if isinstance(told, Mismatch):
            if told.code == "unknown_line":
                raise not_found()
            raise Problem(409, f"mismatch_{told.code}", "The line does not add up")
        rows = told.issued.line.rows
        facts = await store.load_facts_of_entries(
            conn, row["firm_id"], {item.entry_id for item in rows}
        )
    line = json.loads(document.body)["lines"][number - 1]
    entries = [item | {"facts": facts.get(item["entry_id"], [])} for item in line.pop("entries")]
    body = {
        "number": document.number,
        "line_number": number,
        "line": line,
        "steps": told.steps,
        "old_proved": told.old_proved,
        "entries": entries,
    }
    return json_response(request, body)
