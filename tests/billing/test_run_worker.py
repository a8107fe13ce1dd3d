"""A run worker that is killed: the next one takes the firm as if nobody had claimed it."""

import asyncio
import json

import asyncpg

from services.billing.jobs import work
from services.postgres import connect
from tests.billing.worker import begin, worker
from tests.locks import until_waiting
from tests.log import DIRECTORY, entry, of_firm, put

FIRMS = [f"firm-{n}" for n in range(1, 7)]
REPORTS = "select firm_id, report from run_firm where run_id = $1 and done order by 1"
INVOICES = "select firm_id, content from invoice where run_id = $1 order by firm_id"


async def set_up(billing):
    """Give six firms an entry each, and leave nobody who drafts."""
    for firm_id in FIRMS[1:]:
        await put(billing.settings, [of_firm(body, firm_id) for body in DIRECTORY], "admin:a")
        terms = {"approval": "none", "effective_month": "2026-01"}
        await billing.call("PUT", f"/v1/firms/{firm_id}/billing-terms", terms)
    await put(billing.settings, [of_firm(entry("a", 30), firm_id) for firm_id in FIRMS])
    await billing.settle()
    await billing.server.close()


async def until_done(conn, run_id, count):
    async with asyncio.timeout(30):
        while len(await conn.fetch(REPORTS, run_id)) < count:  # noqa: ASYNC110 (another process's table)
            await asyncio.sleep(0.005)


async def finish(conn, settings, run_id):
    stop = asyncio.Event()
    task = asyncio.create_task(work(settings, stop))
    await until_done(conn, run_id, len(FIRMS))
    stop.set()
    await task


async def test_a_run_whose_workers_are_killed_ends_as_if_they_had_not_been(billing):
    await set_up(billing)
    owner = await asyncpg.connect(billing.settings.database_url)
    conn = await connect(billing.settings, "billing", "writer")
    run_id = await begin(conn, billing.settings)

    async with owner.transaction():
        await owner.execute("lock table billing.invoice in access exclusive mode")
        with worker(billing.settings) as first:
            await until_waiting(owner, "relation")
            first.kill()
        assert await conn.fetch(REPORTS, run_id) == []
    with worker(billing.settings) as second:
        await until_done(conn, run_id, 1)
        second.kill()
    await finish(conn, billing.settings, run_id)

    undisturbed = await begin(conn, billing.settings, dry_run=True)
    await finish(conn, billing.settings, undisturbed)
    reports = [
        {
            row["firm_id"]: json.loads(row["report"]) | {"run_id": ""}
            for row in await conn.fetch(REPORTS, which)
        }
        for which in (run_id, undisturbed)
    ]
    assert sorted(reports[0]) == FIRMS
    assert reports[0] == reports[1]
    invoices = await conn.fetch(INVOICES, run_id)
    assert [row["firm_id"] for row in invoices] == FIRMS
    assert {json.loads(row["content"])["total"] for row in invoices} == {"7.63"}
    await conn.close()
    await owner.close()
