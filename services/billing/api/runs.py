"""Month runs: begun, watched, issued."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import asyncpg
from aiohttp import web
from pydantic import Field
from yarl import URL

from schemas.fields import Id
from schemas.instants import instant_text
from schemas.periods import Month
from services.billing import issuing, jobs
from services.billing.api.common import (
    SETTINGS,
    WRITER_POOL,
    Body,
    IssueIn,
    MonthText,
    find,
    invoice_out,
    next_firms,
    office,
    request_key,
)
from services.billing.store import SQL
from services.postgres import TRANSACTION_SECONDS, Connection, borrowed
from services.web.http import (
    Problem,
    body_of,
    json_response,
    not_found,
    principal_of,
    query_of,
)

SHOWN_MAX = 50  # firms a page: a report tells of every held hour
REPLAYED_MAX = 50  # firms a call: an answer comes within its deadline
ISSUED_MAX = 200


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
        body = await _run_out(conn, run_id, RunQuery())
    place = f"/v1/runs/{run_id}"
    headers = {"Location": place} | next_firms(URL(place), body["next"])
    return json_response(request, body, status=202, headers=headers)


class RunsQuery(Body):
    """Of which month."""

    period: MonthText


async def list_runs(request: web.Request) -> web.StreamResponse:
    """List the runs of a month, the newest first."""
    asked = query_of(request, RunsQuery)
    async with office(request, "list_runs") as conn:
        rows = await conn.fetch(SQL.list_runs, Month.parse(asked.period).first_date)
    runs = [
        {
            "run_id": row["run_id"],
            "state": _state(listed=row["listed"], done=row["done"], count=row["firms"]),
            "period": asked.period,
            "dry_run": row["dry_run"],
            "begun_at": instant_text(row["instant"]),
            "firms": row["firms"],
            "done": row["done"],
        }
        for row in rows
    ]
    return json_response(request, {"runs": runs})


class RunQuery(Body):
    """Which firms: those after one, some at a time, with or without what the run decided."""

    reports: bool = True
    after: Id | None = None
    limit: Annotated[int, Field(ge=1, le=SHOWN_MAX)] = SHOWN_MAX


async def get_run(request: web.Request) -> web.StreamResponse:
    """Show a run: its state, and what it decided about its firms, some at a time."""
    asked = query_of(request, RunQuery)
    async with office(request, "read_run", request.match_info["run"]) as conn:
        body = await _run_out(conn, request.match_info["run"], asked)
    return json_response(request, body, headers=next_firms(request.rel_url, body["next"]))


async def _run_out(conn: Connection, run_id: str, asked: RunQuery) -> dict[str, Any]:
    run = await conn.fetchrow(SQL.load_run, run_id)
    if run is None:
        raise not_found()
    count, done = await _count(conn, run_id)
    rows = await conn.fetch(
        SQL.load_run_firms, run_id, asked.reports, asked.after or "", asked.limit + 1
    )
    firms = rows[: asked.limit]
    return {
        "run_id": run_id,
        "state": _state(listed=run["listed"], done=done, count=count),
        "period": str(Month.of(run["period"])),
        "dry_run": run["dry_run"],
        "cut": {"instant": instant_text(run["instant"]), "ends": json.loads(run["ends"])},
        "firm_count": count,
        "done_count": done,
        "firms": [
            {
                "firm_id": row["firm_id"],
                "state": "done" if row["done"] else "pending",
                "attempts": row["attempts"],
                "trouble": row["trouble"],
                "invoice_id": row["invoice_id"],
                "report": json.loads(row["report"]) if row["report"] else None,
            }
            for row in firms
        ],
        "next": firms[-1]["firm_id"] if len(rows) > len(firms) else None,
    }


async def _count(conn: Connection, run_id: str) -> tuple[int, int]:
    """Count the firms of a run, and those that are done."""
    row = await conn.fetchrow(SQL.count_run_firms, run_id)
    assert row is not None
    return row["firms"], row["done"]


def _state(*, listed: bool, done: int, count: int) -> str:
    if not listed:
        return "waiting"
    return "done" if done == count else "running"


class ReplayQuery(Body):
    """Which firms of a run: all from one on, some at a time, or a single one."""

    after: Id | None = None
    firm_id: Id | None = None
    limit: Annotated[int, Field(ge=1, le=REPLAYED_MAX)] = 10


async def replay_run(request: web.Request) -> web.StreamResponse:
    """Decide a past run again as of its cut, some firms at a time, and compare; changes nothing."""
    run_id, asked = request.match_info["run"], query_of(request, ReplayQuery)
    async with office(request, "replay_run", run_id, snapshot=True) as conn:
        found = await jobs.replay(
            conn, run_id, after=asked.after or "", firm_id=asked.firm_id, limit=asked.limit
        )
    is_whole = asked.firm_id is None
    last = found[-1].firm_id if is_whole and len(found) == asked.limit else None
    body = {"run_id": run_id, "firms": [asdict(one) for one in found], "next": last}
    return json_response(request, body, headers=next_firms(request.rel_url, last))


class IssueQuery(Body):
    """Which firms of a run: those after one, some at a time."""

    after: Id | None = None
    limit: Annotated[int, Field(ge=1, le=ISSUED_MAX)] = ISSUED_MAX


async def issue_run(request: web.Request) -> web.StreamResponse:
    """Issue the approved invoices of a run's month in the order of firms, some firms at a time.

    Months in which this run found nothing to bill, and none after it has to decide, are settled
    without a document.
    """
    run_id, told = request.match_info["run"], body_of(request, IssueIn)
    asked = query_of(request, IssueQuery)
    request_key(request)
    actor = principal_of(request).id
    async with office(request, "read_run", run_id) as conn:
        run = await _issuable(conn, run_id)
        firms = await conn.fetch(SQL.list_issuable, run_id, asked.after or "", asked.limit)
    issued, settled, refused = [], [], []
    for firm_id, invoice_id in firms:
        try:
            async with office(request, "issue_month", firm_id, firm_id=firm_id) as conn:
                closed = await issuing.close_month(
                    conn, run, firm_id, invoice_id, told.invoice_date, actor=actor
                )
                if invoice_id is not None:
                    issued.append(invoice_out(await find(conn, invoice_id)))
                elif closed:
                    settled.append(firm_id)
        except Problem as problem:  # one firm's books never stop the others
            refused.append({"firm_id": firm_id, "code": problem.code, "detail": problem.title})
    following = firms[-1]["firm_id"] if len(firms) == asked.limit else None
    body = {
        "issued": issued,
        "settled_without_document": settled,
        "refused": refused,
        "next": following,
    }
    return json_response(request, body, headers=next_firms(request.rel_url, following))


async def _issuable(conn: Connection, run_id: str) -> asyncpg.Record:
    """Load a run that may be issued. Raises Problem 404 and 409."""
    run = await conn.fetchrow(SQL.load_run, run_id)
    if run is None:
        raise not_found()
    count, done = await _count(conn, run_id)
    if run["dry_run"] or _state(listed=run["listed"], done=done, count=count) != "done":
        raise Problem(409, "run_not_issuable", "A dry run, or one under way, issues nothing")
    return run
