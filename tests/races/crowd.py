"""Many firms on the log, run workers that are processes, and what a run has made of a month."""

import asyncio
import json
import multiprocessing
import os
import signal
from hashlib import sha256
from typing import Any

import psutil

from schemas.periods import Month
from services.billing.jobs import begin_run, work
from services.settings import Settings
from tests.billing.conftest import Billing
from tests.billing.test_month_run import amended
from tests.billing.test_run_worker import of_firm
from tests.log import DIRECTORY, entry, put

JULY = Month.parse("2026-07")
MADE = """
select f.firm_id, f.report, f.invoice_id, i.state, i.content
from run_firm f left join invoice i on i.firm_id = f.firm_id and i.invoice_id = f.invoice_id
where f.run_id = $1 and f.done order by f.firm_id
"""
LEFT = "select count(*) from run_firm where run_id = $1 and not done"
LISTED = "select listed from run where run_id = $1"

# A worker is forked from a server that has our modules: it is there in 50 ms, not in a second.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["services.billing.jobs", "tests.races.crowd"])


def firm_names(count: int) -> list[str]:
    return [f"firm-{n}" for n in range(1, count + 1)]


async def settle_crowd(billing: Billing, firm_count: int, entry_count: int) -> None:
    """Put firms with some entries each on the log, wait for them, and leave nobody who drafts."""
    firms = firm_names(firm_count)
    directory = [of_firm(body, firm_id) for firm_id in firms[1:] for body in DIRECTORY]
    await put(billing.settings, directory, "admin:a")
    for firm_id in firms[1:]:
        terms = {"approval": "none", "effective_month": "2026-01"}
        await billing.call("PUT", f"/v1/firms/{firm_id}/billing-terms", terms)
    told = [entry(f"e{n}", 7 + n, at=200 * n) for n in range(entry_count)] + [amended("e0", 33, 1)]
    await put(billing.settings, [of_firm(body, firm_id) for firm_id in firms for body in told])
    await billing.settle(seconds=600)
    await billing.server.close()


def _work(known: dict[str, Any]) -> None:
    asyncio.run(work(Settings(**known), asyncio.Event()))


class Worker:
    """A run worker in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        known = {
            "database_url": settings.database_url,
            "kafka_bootstrap_servers": settings.kafka_bootstrap_servers,
            "database_role_password": settings.database_role_password.get_secret_value(),
            "topic_prefix": settings.topic_prefix,
        }
        self._process = _PROCESSES.Process(target=_work, args=(known,), daemon=True)
        self._process.start()

    def ports(self) -> list[int]:
        """List its own ends of its connections."""
        found = psutil.Process(self._process.pid).net_connections("tcp")
        return [connection.laddr.port for connection in found]

    def kill(self) -> None:
        """End it where it stands."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.join(10)


async def begin(conn: Any, settings: Settings, *, dry_run: bool = False) -> str:
    return await begin_run(
        conn, settings, JULY, None, dry_run=dry_run, actor="finance:test", request_key=None
    )


async def is_done(conn: Any, run_id: str) -> bool:
    return await conn.fetchval(LISTED, run_id) and not await conn.fetchval(LEFT, run_id)


async def made(conn: Any, run_id: str) -> list[tuple[str, str, str | None, str | None, str | None]]:
    """Give what a run made, byte for byte but for its own id, firm by firm."""
    return [
        (
            row["firm_id"],
            row["report"].replace(run_id, "RUN"),
            row["invoice_id"] and row["invoice_id"].replace(run_id, "RUN"),
            row["state"],
            row["content"] and sha256(row["content"]).hexdigest(),
        )
        for row in await conn.fetch(MADE, run_id)
    ]


def outcomes(rows: list[Any]) -> set[str]:
    return {json.loads(row[1])["outcome"] for row in rows}
