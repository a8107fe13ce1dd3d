"""The month run: pinned once, claimed firm by firm by any number of workers, resumed after a kill.

A worker claims a firm, gathers, drafts and saves in one transaction: whatever ends it, the firm is
as if nobody had claimed it, and the next worker takes it. That transaction sees one snapshot, and
keeps a rebuild of the tables that it reads away until it ends.

It takes locks of rows alone: a firm of its run, that firm's invoices. Whoever pins a cut bars the
decisions that `issuing` shares.
"""

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import asyncpg
import structlog
from aiokafka.errors import KafkaError

from schemas.periods import Month
from services.billing import store
from services.billing.books import Blocked, Draft
from services.billing.drafts import draft
from services.billing.gather import UnknownFirm, gather
from services.billing.issuing import Actor
from services.billing.replays import Kept, Replay, compare, pending
from services.billing.reports import report
from services.billing.store import SQL
from services.failures import Failure, attempt_in
from services.kafka import LogSeen, see_log
from services.log_reader import wait_or_stop
from services.postgres import STORE_ERRORS, Connection, append_audit, connect
from services.settings import Settings
from services.web.problems import Problem, not_found, unavailable

TOPICS = ("directory", "time-events")
LOG_SECONDS = 3.0  # for Kafka to say how far its logs reach
IDLE_SECONDS = 0.2
BACK_OFF_SECONDS = 1.0
ATTEMPTS_MAX = 5  # at a firm whose draft the world has ended each time
CONTESTED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)

_log = structlog.get_logger(__name__)


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

    Raises Problem: 422 when the key was used for another request, 503 while Kafka does not say how
    far its logs reach.
    """
    request = json.dumps(
        {"period": str(period), "firm_ids": firm_ids and sorted(firm_ids), "dry_run": dry_run},
        sort_keys=True,
    )
    looked_at = await store.read_clock(conn)
    log = await _see_log(settings)
    ids = {topic: str(topic_id) for topic, topic_id in log.ids.items()}
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
        ends = _raised(log.ends, await store.load_pinned_ends(conn, ids, looked_at))
        heads = json.dumps(await store.load_heads(conn))
        await conn.execute(
            SQL.append_run, run_id, period.first_date, dry_run, store.ends_json(ends),
            await store.read_clock(conn), json.dumps(ids), heads, actor, request_key, request,
        )  # fmt: skip
        await append_audit(
            conn, Actor(actor), "begin_run", subject=run_id, details={"period": str(period)}
        )
        # failpoint run.pinned
    # failpoint run.begun
    return run_id


def _raised(
    seen: Mapping[tuple[str, int], int], pinned: Mapping[tuple[str, int], int]
) -> dict[tuple[str, int], int]:
    """Raise log ends to those of the run that was pinned last, while this one looked at the log.

    That one may have billed what came after our look. Its documents count, so what they bill has to
    be seen. A run before the look saw no more than we, unless the log has lost its end since.
    """
    return {place: max(seen.get(place, 0), pinned.get(place, 0)) for place in seen.keys() | pinned}


async def _see_log(settings: Settings) -> LogSeen:
    try:
        return await see_log(settings, [settings.topic(name) for name in TOPICS], LOG_SECONDS)
    except KafkaError as error:
        _log.warning("log_unreached", error=type(error).__name__)
        title = "Kafka does not say how far its logs reach; try again"
        raise unavailable("log_unreached", title) from error


class _Troubled(Exception):
    """The world ended a draft: which firm's, and how."""

    def __init__(self, run_id: str, firm_id: str, reason: str) -> None:
        super().__init__(reason)
        self.run_id = run_id
        self.firm_id = firm_id
        self.reason = reason


async def work(settings: Settings, stop: asyncio.Event) -> None:
    """Draft whatever runs wait for, until told to stop."""
    troubled: _Troubled | None = None
    while not stop.is_set():
        noted, troubled = troubled, None
        try:
            await _work(settings, stop, noted)
        except _Troubled as error:
            troubled = error
            _log.warning(
                "draft_ended", run_id=error.run_id, firm_id=error.firm_id, reason=error.reason
            )
        except STORE_ERRORS as error:
            _log.warning("run_worker_failed", error=type(error).__name__)
        await wait_or_stop(BACK_OFF_SECONDS, stop)


async def _work(settings: Settings, stop: asyncio.Event, troubled: _Troubled | None) -> None:
    conn = await connect(settings, "billing", "writer")
    try:
        # A draft is computed inside its transaction and may take longer than a consumer's pause.
        await conn.execute("set idle_in_transaction_session_timeout = '120s'")
        if troubled is not None:
            told = json.dumps(_failed(troubled.firm_id, troubled.reason))
            await conn.execute(
                SQL.note_trouble, troubled.run_id, troubled.firm_id, troubled.reason,
                ATTEMPTS_MAX, told,
            )  # fmt: skip
        while not stop.is_set():
            if not await draft_next(conn):
                await wait_or_stop(IDLE_SECONDS, stop)
    finally:
        await conn.close(timeout=2)


async def draft_next(conn: Connection) -> bool:
    """Draft one firm of the oldest run that has one free; False when there is nothing to do."""
    for run in await conn.fetch(SQL.load_waiting_runs):
        if not run["listed"]:
            return await _list_firms(conn)
        try:
            if await _draft_claimed(conn, run):
                return True
        except CONTESTED:
            return True  # somebody else was quicker: look again
    return False


async def _list_firms(conn: Connection) -> bool:
    """List the oldest run's firms, all unless it names some, once its cut is applied."""
    async with conn.transaction():
        run = await conn.fetchrow(SQL.lock_unlisted_run)
        if run is None:
            return True  # another worker has just listed it
        if not _is_seen(await _coverage(conn, run)):
            return False
        named = json.loads(run["request"])["firm_ids"]
        known = await store.list_firms(conn, store.cut_of(run["ends"], run["instant"]).ends)
        await conn.execute(SQL.append_run_firms, run["run_id"], named or known)
        await conn.execute(SQL.mark_listed, run["run_id"])
        # failpoint run.listed
    return True


async def _coverage(conn: Connection, run: asyncpg.Record) -> store.Coverage:
    ends = store.cut_of(run["ends"], run["instant"]).ends
    return await store.load_coverage(conn, ends, store.topic_ids_of(run["topic_ids"]))


def _is_seen(coverage: store.Coverage) -> bool:
    """Say whether all that a run is to see is applied; of a log that is gone it never will be."""
    return coverage.reached or not coverage.same


async def _draft_claimed(conn: Connection, run: asyncpg.Record) -> bool:
    """Claim a firm of a run, draft it and save the draft; False when none is free.

    What fails in its draft is the firm's own and is reported as its outcome; when the world ends
    it, this raises `_Troubled`, and the firm's turn comes again after the others'.
    """
    firm_id = None
    try:
        async with conn.transaction(isolation="repeatable_read"):
            firm_id = await conn.fetchval(
                SQL.claim_firm, run["run_id"], run["dry_run"], run["period"], run["instant"]
            )
            if firm_id is None:
                return False
            # failpoint run.claimed
            coverage = await _coverage(conn, run)
            if not _is_seen(coverage):
                return False  # a rebuild is under way
            told, invoice_id = await _drafted(conn, run, firm_id, coverage)
            await conn.execute(
                SQL.finish_firm, run["run_id"], firm_id, json.dumps(told), invoice_id
            )
            # failpoint run.reported
        # failpoint run.committed
    except CONTESTED:
        raise
    except STORE_ERRORS as error:
        if firm_id is None:
            raise
        raise _Troubled(run["run_id"], firm_id, type(error).__name__) from error
    return True


async def _drafted(
    conn: Connection, run: asyncpg.Record, firm_id: str, coverage: store.Coverage
) -> tuple[dict[str, Any], str | None]:
    """Draft a firm and save the draft; one that cannot be drafted is told as failed."""
    if not coverage.same:
        return _failed(firm_id, "log_replaced"), None
    saved = await attempt_in(conn, lambda: _draft_firm(conn, run, firm_id))
    if isinstance(saved, Failure):
        _log.error("draft_failed", run_id=run["run_id"], firm_id=firm_id, reason=saved.reason)
        return _failed(firm_id, saved.reason), None
    return saved


def _failed(firm_id: str, reason: str) -> dict[str, Any]:
    blocked = Blocked("draft_failed", reason)._asdict()
    return {"firm_id": firm_id, "outcome": "failed", "blocked": [blocked]}


async def _draft_firm(
    conn: Connection, run: asyncpg.Record, firm_id: str
) -> tuple[dict[str, Any], str | None]:
    made, told = await _decide(conn, run, firm_id)
    # failpoint run.drafted
    if made is None or run["dry_run"]:
        return told, None
    saved = await _save_draft(conn, made)
    # failpoint run.saved
    return told, saved


async def _save_draft(conn: Connection, made: Draft) -> str | None:
    """Keep a draft in the place of one before it, and return its id; None when none is kept.

    An approved invoice that can still be issued stands, until its approval is withdrawn. A month
    may have been settled since the run's cut: what is drafted beside it could never be issued.
    """
    firm_id, run_id = made.firm.firm_id, made.run.run_id
    firm_month = firm_id, made.period.first_date
    await conn.execute(SQL.supersede_drafts, *firm_month)
    if made.outcome != "document" or _is_out_of_order(made):
        return None
    if await conn.fetchval(SQL.is_decided, *firm_month):
        return None
    invoice_id = f"{run_id}.{sha256(firm_id.encode()).hexdigest()[:12]}"
    await store.append_draft(conn, made, invoice_id)
    return invoice_id


async def _decide(
    conn: Connection, run: asyncpg.Record, firm_id: str
) -> tuple[Draft | None, dict[str, Any]]:
    """Gather a firm's books and decide: the one way of draft, dry run and replay."""
    cut = store.cut_of(run["ends"], run["instant"])
    try:
        found = await gather(conn, firm_id, Month.of(run["period"]), run["run_id"], cut)
    except UnknownFirm:
        return None, {"firm_id": firm_id, "outcome": "unknown_firm", "blocked": []}
    # In a thread: the loop also serves, and reads the log.
    made = await asyncio.to_thread(draft, *found)
    return made, report(made)


async def replay(
    conn: Connection, run_id: str, *, after: str, firm_id: str | None, limit: int
) -> list[Replay]:
    """Decide some firms of a past run again as of its cut, and compare; writes nothing.

    The caller's transaction sees one snapshot. Raises Problem: 404 for an unknown run, 409 where
    what the run saw is not there to be seen again.
    """
    run = await conn.fetchrow(SQL.load_run, run_id)
    if run is None:
        raise not_found()
    coverage = await _coverage(conn, run)
    if not coverage.same:
        raise Problem(409, "log_replaced", "The run's positions are those of a log that is gone")
    if not coverage.reached:
        raise Problem(409, "log_not_applied", "The log up to the run's cut is being read again")
    if not await store.heads_stand(conn, run["heads"]):
        raise Problem(409, "series_changed", "A document issued before the run is not as it was")
    rows = await conn.fetch(SQL.load_run_firms_after, run_id, after, firm_id, limit)
    return [await _replay_firm(conn, run, row) for row in rows]


async def _replay_firm(conn: Connection, run: asyncpg.Record, row: asyncpg.Record) -> Replay:
    if not row["done"]:
        return pending(row["firm_id"])
    decided = await attempt_in(conn, lambda: _decide(conn, run, row["firm_id"]))
    if isinstance(decided, Failure):
        made, told = None, _failed(row["firm_id"], decided.reason)
    else:
        made, told = decided
    kept = Kept(row["report"], row["content"], row["body"])
    return compare(row["firm_id"], kept, made, json.dumps(told))


def _is_out_of_order(made: Draft) -> bool:
    codes = {"period_settled", "period_before_first", "month_order"}
    return any(blocked.code in codes for blocked in made.blocked)
