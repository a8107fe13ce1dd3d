"""Month runs: begun, watched, issued."""

import json
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from schemas.fields import Id
from schemas.instants import instant_text
from schemas.periods import Month
from services.billing import jobs
from services.billing.api.common import (
    SETTINGS,
    WRITER_POOL,
    Body,
    IssueIn,
    MonthText,
    find,
    invoice_out,
    office,
    request_key,
)
from services.billing.store import SQL
from services.http import (
    Problem,
    body_of,
    json_response,
    principal_of,
)
from services.postgres import TRANSACTION_SECONDS, Connection, borrowed


class RunIn(Body):
    """A month run over some firms, or all."""

    period: MonthText
    firm_ids: Annotated[list[Id], Field(min_length=1, max_length=10_000)] | None = None
    dry_run: bool = False


async def post_run(request: web.Request) -> web.StreamResponse:
    """Begin a month run; it goes on by itself, and GET shows how far it is."""
    told, key = body_of(request, RunIn), request_key(request)
    async with borrowed(request.app[WRITER_POOL], TRANSACTION_SECONDS) as conn:
        run_id = await jobs.begin_run(
            conn, request.app[SETTINGS], Month.parse(told.period), told.firm_ids,
            dry_run=told.dry_run, actor=principal_of(request).id, request_key=key,
        )  # fmt: skip
        body = await _run_out(conn, run_id)
    return json_response(request, body, status=202, headers={"Location": f"/v1/runs/{run_id}"})


async def get_run(request: web.Request) -> web.StreamResponse:
    """Show a run: its state, and what it decided about each firm."""
    async with office(request, "read_run", request.match_info["run"]) as conn:
        body = await _run_out(conn, request.match_info["run"])
    return json_response(request, body)


async def _run_out(conn: Connection, run_id: str) -> dict[str, Any]:
    run = await conn.fetchrow(SQL.load_run, run_id)
    if run is None:
        raise Problem(404, "not_found", "There is no such thing")
    firms = await conn.fetch(SQL.load_run_firms, run_id)
    done = sum(row["done"] for row in firms)
    return {
        "run_id": run_id,
        "state": _state(listed=run["listed"], done=done, count=len(firms)),
        "period": str(Month.of(run["period"])),
        "dry_run": run["dry_run"],
        "cut": {"instant": instant_text(run["instant"]), "ends": json.loads(run["ends"])},
        "firms": [
            {
                "firm_id": row["firm_id"],
                "state": "done" if row["done"] else "pending",
                "invoice_id": row["invoice_id"],
                "report": json.loads(row["report"]) if row["report"] else None,
            }
            for row in firms
        ],
    }


def _state(*, listed: bool, done: int, count: int) -> str:
    if not listed:
        return "waiting"
    return "done" if done == count else "running"


async def issue_run(request: web.Request) -> web.StreamResponse:
    """Issue all approved invoices of a run in the order of firms; settle months without one."""
    run_id, told = request.match_info["run"], body_of(request, IssueIn)
    request_key(request)
    actor = principal_of(request).id
    async with office(request, "read_run", run_id) as conn:
        run = await conn.fetchrow(SQL.load_run, run_id)
        firms = await conn.fetch(SQL.load_run_firms, run_id)
    if run is None:
        raise Problem(404, "not_found", "There is no such thing")
    if run["dry_run"] or not run["listed"] or not all(row["done"] for row in firms):
        raise Problem(409, "run_not_issuable", "A dry run, or one under way, issues nothing")
    issued, settled = [], []
    for row in firms:
        report = json.loads(row["report"])
        async with office(request, "issue_month", row["firm_id"]) as conn:
            if row["invoice_id"] is not None:
                found = await conn.fetchrow(SQL.lock_invoice, row["firm_id"], row["invoice_id"])
                if found is not None and found["state"] == "approved":
                    await jobs.issue(
                        conn, row["firm_id"], row["invoice_id"], told.invoice_date, actor=actor
                    )
                    issued.append(row["invoice_id"])
            elif (
                report["outcome"] in {"nothing_due", "carried"}
                and not report["blocked"]
                and await jobs.settle_without_document(conn, run, row["firm_id"], actor=actor)
            ):
                settled.append(row["firm_id"])
    async with office(request, "read_invoices", run_id) as conn:
        bodies = [invoice_out(await find(conn, invoice_id)) for invoice_id in issued]
    body = {"issued": bodies, "settled_without_document": settled}
    return json_response(request, body)
