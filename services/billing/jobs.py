"""The month run: pinned once, claimed firm by firm by any number of workers, resumed after a kill.

A worker claims a firm, gathers, drafts and saves in one transaction: whatever ends it, the firm is
as if nobody had claimed it, and the next worker takes it.
"""

import asyncio
import json
import secrets
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import structlog

from schemas.facts import Cut
from schemas.periods import Month
from services.billing import store
from services.billing.books import Draft
from services.billing.drafts import draft, issued_digest
from services.billing.gather import UnknownFirm, gather
from services.billing.invoices import document
from services.billing.reports import report
from services.billing.store import SQL
from services.folding import caught_up
from services.kafka import log_ends
from services.log_reader import wait_or_stop
from services.postgres import Connection, append_audit, connect
from services.problems import Problem
from services.settings import Settings

TOPICS = ("directory", "time-events")
IDLE_SECONDS = 0.2
BACK_OFF_SECONDS = 1.0
SERIES = "INV"

_log = structlog.get_logger(__name__)


class Actor(str):
    """Who acts, as the trail names it."""

    __slots__ = ()

    @property
    def id(self) -> str:
        """The principal's id."""
        return str(self)


async def begin_run(
    conn: Connection,
    settings: Settings,
    period: Month,
    firm_ids: Sequence[str] | None,
    *,
    dry_run: bool,
    actor: str,
    request_key: str | None,
) -> str:
    """Pin a run's cut; the same key again returns the same run.

    Raises Problem 422 when the key was used for another request.
    """
    request = json.dumps(
        {"period": str(period), "firm_ids": firm_ids and sorted(firm_ids), "dry_run": dry_run},
        sort_keys=True,
    )
    ends = await log_ends(settings, [settings.topic(name) for name in TOPICS])
    async with conn.transaction():
        # In this order: a decision that is not yet committed has a later instant than the cut.
        await conn.execute(SQL.bar_decisions)
        if request_key is not None:
            known = await conn.fetchrow(SQL.find_run_of_request, actor, request_key)
            if known is not None:
                if json.loads(known["request"]) != json.loads(request):
                    raise Problem(422, "idempotency_key_reused", "This key began another run")
                return str(known["run_id"])
        run_id = f"run-{secrets.token_hex(8)}"
        instant = datetime.now(UTC)
        await conn.execute(
            SQL.append_run, run_id, period.first_date, dry_run, store.ends_json(ends), instant,
            actor, request_key, request,
        )  # fmt: skip
        await append_audit(
            conn, Actor(actor), "begin_run", subject=run_id, details={"period": str(period)}
        )
        # failpoint run.pinned
    # failpoint run.begun
    return run_id


async def work(settings: Settings, stop: asyncio.Event) -> None:
    """Draft whatever runs wait for, until told to stop."""
    while not stop.is_set():
        try:
            await _work(settings, stop)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            _log.warning("run_worker_failed", error=type(error).__name__)
            await wait_or_stop(BACK_OFF_SECONDS, stop)


async def _work(settings: Settings, stop: asyncio.Event) -> None:
    conn = await connect(settings, "billing", "writer")
    try:
        # A draft is computed inside its transaction and may take longer than a consumer's pause.
        await conn.execute("set idle_in_transaction_session_timeout = '120s'")
        while not stop.is_set():
            if not await draft_next(conn):
                await wait_or_stop(IDLE_SECONDS, stop)
    finally:
        await conn.close(timeout=2)


async def draft_next(conn: Connection) -> bool:
    """Claim one firm of the oldest run, draft it and save the draft; False when none can be."""
    run = await conn.fetchrow(SQL.find_waiting_run)
    if run is None:
        return False
    cut = store.cut_of(run["ends"], run["instant"])
    if not await caught_up(conn, cut.ends):
        return False
    async with conn.transaction():
        if not run["listed"]:
            await _list_firms(conn, run)
            # failpoint run.listed
        firm_id = await conn.fetchval(SQL.claim_firm, run["run_id"])
        if firm_id is None:
            return not run["listed"]
        # failpoint run.claimed
        told, invoice_id = await _draft_firm(conn, run, cut, firm_id)
        await conn.execute(SQL.finish_firm, run["run_id"], firm_id, json.dumps(told), invoice_id)
        # failpoint run.reported
    # failpoint run.committed
    return True


async def _list_firms(conn: Connection, run: asyncpg.Record) -> None:
    """List a run's firms, all unless it names some, once its cut is applied."""
    named = json.loads(run["request"])["firm_ids"]
    known = [row["firm_id"] for row in await conn.fetch(SQL.list_firms)]
    await conn.execute(SQL.append_run_firms, run["run_id"], named or known)
    await conn.execute(SQL.mark_listed, run["run_id"])


async def _draft_firm(
    conn: Connection, run: asyncpg.Record, cut: Cut, firm_id: str
) -> tuple[dict[str, Any], str | None]:
    period = Month.of(run["period"])
    try:
        made = draft(await gather(conn, firm_id, period, run["run_id"], cut))
    except UnknownFirm:
        return {"firm_id": firm_id, "outcome": "unknown_firm", "blocked": []}, None
    told = report(made)
    # failpoint run.drafted
    if run["dry_run"] or _is_out_of_order(made):
        return told, None
    invoice_id = f"{run['run_id']}.{secrets.token_hex(4)}"
    await store.save_draft(conn, made, invoice_id)
    # failpoint run.saved
    return told, invoice_id if made.outcome == "document" else None


def _is_out_of_order(made: Draft) -> bool:
    codes = {"period_settled", "period_before_first", "month_order"}
    return any(blocked.code in codes for blocked in made.blocked)


# Approving and issuing


async def approve(conn: Connection, invoice: asyncpg.Record, *, actor: str) -> None:
    """Approve a draft, in the caller's transaction. Raises Problem 409."""
    row = await conn.fetchrow(SQL.lock_invoice, invoice["firm_id"], invoice["invoice_id"])
    assert row is not None
    if row["state"] == "approved":
        return
    if row["state"] != "draft":
        raise Problem(409, "not_a_draft", f"This invoice is {row['state']}")
    if blocked := json.loads(row["blocked"]):
        said = "; ".join(f"{b['code']}: {b['detail']}" for b in blocked)
        raise Problem(409, "draft_blocked", f"Not to be approved: {said}")
    await conn.execute(SQL.approve_invoice, row["firm_id"], row["invoice_id"])
    # failpoint approval.saved
    await append_audit(
        conn, Actor(actor), "approve_invoice", subject=row["invoice_id"], firm_id=row["firm_id"]
    )


async def issue(
    conn: Connection, firm_id: str, invoice_id: str, invoice_date: date, *, actor: str
) -> None:
    """Issue an approved draft in the caller's transaction: number, freeze, chain, settle.

    Raises Problem 409 when it is not approved, or the firm's books moved on since it was drafted.
    An invoice that is issued already stays as it is.
    """
    series = f"{SERIES}-{invoice_date.year}"
    await conn.execute(SQL.lock_series, series)
    # failpoint issue.series_locked
    row = await conn.fetchrow(SQL.lock_invoice, firm_id, invoice_id)
    assert row is not None
    if row["state"] == "issued":
        return
    if row["state"] != "approved":
        raise Problem(409, "not_approved", f"This invoice is {row['state']}")
    if issued_digest(await store.load_issued(conn, firm_id)) != row["issued_digest"]:
        raise Problem(409, "books_moved_on", "Something was issued since: start a new run")
    number, head = await store.take_number(conn, series)
    # failpoint issue.numbered
    frozen = document(
        row["content"],
        number=f"{series}-{number:06}",
        invoice_date=invoice_date,
        series=series,
        predecessor=head,
    )
    now = datetime.now(UTC)
    await store.issue_document(conn, firm_id, invoice_id, frozen, number)
    # failpoint issue.frozen
    await store.settle(
        conn, firm_id, row["period"], row["run_id"], invoice_id, actor=actor, now=now
    )
    await append_audit(
        conn, Actor(actor), "issue_invoice", subject=frozen.number, firm_id=firm_id,
        details={"sha256": frozen.sha256},
    )  # fmt: skip
    # failpoint issue.settled


async def settle_without_document(
    conn: Connection, run: asyncpg.Record, firm_id: str, *, actor: str
) -> bool:
    """Close a month that has nothing to issue; False when it is settled already."""
    if await conn.fetchval(SQL.is_settled, firm_id, run["period"]):
        return False
    now = datetime.now(UTC)
    await store.settle(conn, firm_id, run["period"], run["run_id"], None, actor=actor, now=now)
    # failpoint settlement.saved
    await append_audit(
        conn, Actor(actor), "settle_month", subject=str(Month.of(run["period"])), firm_id=firm_id
    )
    return True
