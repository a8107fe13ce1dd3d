"""Many invoices issued at once: approved drafts laid out, workers that race, and what must hold."""

import asyncio
import json
from datetime import UTC, date, datetime
from random import Random

from schemas.periods import Month
from services.billing import store
from services.billing.drafts import issued_digest
from services.billing.invoices import content, verify_chain
from services.billing.issuing import issue
from services.postgres import Connection, connect
from services.settings import Settings
from tests.billing.story import Story

SERIES = "INV-2026"
DATE = date(2026, 8, 5)
ROLLED_BACK = 0.2
RUN = """
insert into run (run_id, period, dry_run, ends, instant, actor, request, listed)
values ($1, $2, false, '[]', $3, 'finance:test', '{}', true)
"""
DRAFT = """
insert into invoice (firm_id, invoice_id, period, run_id, state, currency, total_minor, content,
                     issued_digest, blocked)
values ($1, $2, $3, 'run-1', 'approved', 'USD', 1500, $4, $5, '[]')
"""


class ForcedRollback(Exception):
    """Whoever issued did not come to commit."""


async def lay_out(conn: Connection, count: int) -> list[str]:
    """Write approved drafts of one run, one a firm, as a run and its approver would have."""
    story = Story()
    story.record("a", "2026-07-01T09:00:00-04:00/2026-07-01T10:00:00-04:00")
    told = content(story.draft("2026-07"))
    july = Month.parse("2026-07").first_date
    await conn.execute(RUN, "run-1", july, datetime.now(UTC))
    firms = [f"firm-{n:04}" for n in range(count)]
    nothing = issued_digest(())
    await conn.executemany(
        DRAFT,
        [
            (firm_id, f"run-1.{firm_id}", july, told.replace(b"firm-1", firm_id.encode()), nothing)
            for firm_id in firms
        ],
    )
    return firms


async def race(settings: Settings, count: int, workers: int, seed: int) -> None:
    """Issue drafts by some workers, each draft by two of them, a fifth of the tries rolled back."""
    owner = await connect(settings, "billing", "writer")
    firms = await lay_out(owner, count)
    rng = Random(seed)
    waiting: asyncio.Queue[str] = asyncio.Queue()
    for firm_id in rng.sample(firms * 2, 2 * count):
        waiting.put_nowait(firm_id)
    async with asyncio.TaskGroup() as group:
        for number in range(workers):
            group.create_task(_issue_waiting(settings, waiting, f"{seed}:{number}"))
    await prove(owner, firms)
    await owner.close()


async def _issue_waiting(settings: Settings, waiting: asyncio.Queue[str], seed: str) -> None:
    rng = Random(seed)
    conn = await connect(settings, "billing", "office")
    try:
        while not waiting.empty():
            firm_id = waiting.get_nowait()
            try:
                async with conn.transaction():
                    await issue(conn, firm_id, f"run-1.{firm_id}", DATE, actor="finance:test")
                    _roll_back_at_times(rng)
            except ForcedRollback:
                waiting.put_nowait(firm_id)
    finally:
        await conn.close()


def _roll_back_at_times(rng: Random) -> None:
    if rng.random() < ROLLED_BACK:
        raise ForcedRollback


async def prove(conn: Connection, firms: list[str]) -> None:
    """Every firm has one invoice, the numbers have no gap, the chain and the books agree."""
    chain = await store.load_chain(conn, SERIES)
    numbers = [json.loads(document.body)["number"] for document in chain]
    assert numbers == [f"{SERIES}-{n:06}" for n in range(1, len(firms) + 1)]
    assert verify_chain(chain) == ()
    assert sorted(json.loads(d.body)["firm"]["firm_id"] for d in chain) == firms
    assert await conn.fetchval("select count(*) from invoice where state = 'issued'") == len(firms)
    assert await conn.fetchval("select count(*) from settlement") == len(firms)
    audited = "select count(distinct firm_id) from audit where action = 'issue_invoice'"
    assert await conn.fetchval(audited) == len(firms)
    total = await conn.fetchval("select count(*) from audit where action = 'issue_invoice'")
    assert total == len(firms)
