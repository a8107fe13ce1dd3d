"""A month begun, and run workers in processes of their own, so that a test may kill them."""

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from schemas.periods import Month
from services.billing.jobs import begin_run, work
from services.postgres import Connection
from services.settings import Settings
from tests.servers import plain

JULY = Month.parse("2026-07")
# A worker is forked from a server that has our modules: it is there in 50 ms, not in a second.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["services.billing.jobs", "tests.billing.worker"])


async def begin(
    conn: Connection, settings: Settings, *, period: Month = JULY, dry_run: bool = False
) -> str:
    """Begin a run of July, or another month, for all firms, and return its id."""
    return await begin_run(
        conn, settings, period, None, dry_run=dry_run, actor="finance:test", request_key=None
    )


class Worker:
    """A run worker that is at work from now on."""

    def __init__(self, settings: Settings) -> None:
        self._process = _PROCESSES.Process(target=_work, args=(plain(settings),), daemon=True)
        self._process.start()

    def ports(self) -> list[int]:
        """List its own ends of its connections."""
        found = psutil.Process(self._process.pid).net_connections("tcp")
        return [connection.laddr.port for connection in found]

    def kill(self) -> None:
        """End it where it stands, if it has not ended."""
        self._process.kill()
        self._process.join(10)


def _work(told: dict[str, Any]) -> None:
    asyncio.run(work(Settings(**told), asyncio.Event()))


@contextmanager
def worker(settings: Settings) -> Iterator[Worker]:
    """Run a worker for the length of a block, unless the block kills it first."""
    running = Worker(settings)
    try:
        yield running
    finally:
        running.kill()
