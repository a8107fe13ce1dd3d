"""Deciding about invoices: approved, withdrawn, issued, and months closed, one firm at a time.

Locks are taken in one order: decisions (shared by whoever decides, alone by whoever pins a cut), a
firm's books, a series, an invoice's row.
"""

import json
from datetime import date

import asyncpg
import structlog

from schemas.periods import Month
from services.billing import store
from services.billing.drafts import issued_digest
from services.billing.invoices import document
from services.billing.store import SQL
from services.failures import Failure, attempt_in
from services.postgres import Connection, append_audit
from services.web.problems import Problem

SERIES = "INV"
MOVED_ON = "A month of this firm was settled since: start a new run"
_REFUSALS = {"draft": "not_a_draft", "approved": "not_approved"}

_log = structlog.get_logger(__name__)


class Actor(str):
    """Who acts, as the trail names it."""

    __slots__ = ()

    @property
    def id(self) -> str:
        """The principal's id."""
        return str(self)


async def approve(conn: Connection, invoice: asyncpg.Record, *, actor: str) -> None:
    """Approve a draft, in the caller's transaction. Raises Problem 409."""
    # No month of the firm is settled between the look at its books and the approval.
    await conn.execute(SQL.lock_books, invoice["firm_id"])
    row = await _lock(conn, invoice["firm_id"], invoice["invoice_id"], "draft", "approved")
    if row is None:
        return
    if blocked := json.loads(row["blocked"]):
        said = "; ".join(f"{b['code']}: {b['detail']}" for b in blocked)
        raise Problem(409, "draft_blocked", f"Not to be approved: {said}")
    await _recheck(conn, row["firm_id"], row["run_id"])
    await conn.execute(SQL.approve_invoice, row["firm_id"], row["invoice_id"])
    # failpoint approval.saved
    await append_audit(
        conn, Actor(actor), "approve_invoice", subject=row["invoice_id"], firm_id=row["firm_id"]
    )


async def withdraw(conn: Connection, invoice: asyncpg.Record, *, actor: str) -> None:
    """Make an approved invoice a draft again, in the caller's transaction. Raises Problem 409."""
    row = await _lock(conn, invoice["firm_id"], invoice["invoice_id"], "approved", "draft")
    if row is None:
        return
    await conn.execute(SQL.withdraw_approval, row["firm_id"], row["invoice_id"])
    await append_audit(
        conn, Actor(actor), "withdraw_approval", subject=row["invoice_id"], firm_id=row["firm_id"]
    )


async def issue(
    conn: Connection, firm_id: str, invoice_id: str, invoice_date: date, *, actor: str
) -> None:
    """Issue an approved draft in the caller's transaction: number, freeze, chain, settle.

    Raises Problem 409 when it is not approved, or the firm's books moved on since it was drafted.
    An invoice that is issued already stays as it is.
    """
    series = f"{SERIES}-{invoice_date.year}"
    await conn.execute(SQL.share_decisions)
    await conn.execute(SQL.lock_books, firm_id)
    await conn.execute(SQL.lock_series, series)
    # failpoint issue.series_locked
    row = await _lock(conn, firm_id, invoice_id, "approved", "issued")
    if row is None:
        return
    await _recheck(conn, firm_id, row["run_id"])
    if issued_digest(await store.load_issued(conn, firm_id)) != row["issued_digest"]:
        raise Problem(409, "books_moved_on", MOVED_ON)
    number, head = await store.take_number(conn, series)
    # failpoint issue.numbered
    frozen = document(
        row["content"],
        number=f"{series}-{number:06}",
        invoice_date=invoice_date,
        series=series,
        predecessor=head,
    )
    await store.issue_document(conn, firm_id, invoice_id, frozen, number)
    # failpoint issue.frozen
    await store.settle(conn, firm_id, row["period"], row["run_id"], invoice_id, actor=actor)
    await append_audit(
        conn, Actor(actor), "issue_invoice", subject=frozen.number, firm_id=firm_id,
        details={"sha256": frozen.sha256},
    )  # fmt: skip
    # failpoint issue.settled


async def _lock(
    conn: Connection, firm_id: str, invoice_id: str, state: str, wanted: str
) -> asyncpg.Record | None:
    """Lock an invoice of one state that is to get another; None when it has that already.

    Raises Problem 409 when it has a third one.
    """
    row = await conn.fetchrow(SQL.lock_invoice, firm_id, invoice_id)
    assert row is not None
    if row["state"] == wanted:
        return None
    if row["state"] != state:
        raise Problem(409, _REFUSALS[state], f"This invoice is {row['state']}")
    return row


async def _recheck(conn: Connection, firm_id: str, run_id: str) -> None:
    """Refuse what was decided before another month of the firm was settled. Raises Problem 409."""
    if await conn.fetchval(SQL.has_moved_on, firm_id, run_id):
        raise Problem(409, "books_moved_on", MOVED_ON)


async def settle_without_document(
    conn: Connection, run: asyncpg.Record, firm_id: str, *, actor: str
) -> bool:
    """Close a month that has nothing to issue; False when it is settled already.

    So it is when an approved invoice waits to be issued, or a later run of the month decides in
    this one's place. Raises Problem 409 when the firm's books moved on since the run.
    """
    await conn.execute(SQL.share_decisions)
    await conn.execute(SQL.lock_books, firm_id)
    if await conn.fetchval(SQL.is_decided, firm_id, run["period"]):
        return False
    if await conn.fetchval(SQL.is_run_again, firm_id, run["period"], run["instant"]):
        return False
    await _recheck(conn, firm_id, run["run_id"])
    await store.settle(conn, firm_id, run["period"], run["run_id"], None, actor=actor)
    # failpoint settlement.saved
    await append_audit(
        conn, Actor(actor), "settle_month", subject=str(Month.of(run["period"])), firm_id=firm_id
    )
    return True


async def close_month(
    conn: Connection, run: asyncpg.Record, firm_id: str, invoice_id: str | None,
    invoice_date: date, *, actor: str,
) -> bool:  # fmt: skip
    """Close a month of a firm that a run lists, by its approved invoice or without one.

    False when there is nothing to close any more. Raises Problem: 409 as either step does, 500 when
    it fails by what is wrong with this firm alone; what is wrong with the world is raised on.
    """

    async def close() -> bool | Problem:
        try:
            if invoice_id is None:
                return await settle_without_document(conn, run, firm_id, actor=actor)
            await issue(conn, firm_id, invoice_id, invoice_date, actor=actor)
        except Problem as refused:
            return refused
        return True

    closed = await attempt_in(conn, close)
    if isinstance(closed, Failure):
        _log.error("issue_failed", run_id=run["run_id"], firm_id=firm_id, reason=closed.reason)
        raise Problem(500, "issue_failed", f"This month's issue failed: {closed.reason}")
    if isinstance(closed, Problem):
        raise closed
    return closed
