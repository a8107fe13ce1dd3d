"""Long work inside a transaction: the loop keeps its turns, and Postgres hears that we live.

A session that says nothing inside a transaction is ended, so that a process that stands still loses
its locks. Whoever only computes for so long would lose them too, and again at every new attempt.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from services.postgres import Connection

SILENT_SECONDS: Final = 0.5  # a quarter of what Postgres bears
TURN_RECORDS: Final = 200
LARGE_RECORDS: Final = 1_000
Value = TypeVar("Value")


class Pulse:
    """One stretch of work on a connection whose transaction is open."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._records = 0

    async def run(self, work: Callable[[], Value], records: int) -> Value:
        """Do a pure piece of work; `records` says how large it is, a large one goes to a thread."""
        if records > LARGE_RECORDS:
            doing = asyncio.ensure_future(asyncio.to_thread(work))
            while not (await asyncio.wait({doing}, timeout=SILENT_SECONDS))[0]:
                await self._speak()
            return doing.result()
        self._records += records
        is_silent = self._loop.time() - self._heard_at > SILENT_SECONDS
        if self._records >= TURN_RECORDS or is_silent:
            self._records = 0
            await asyncio.sleep(0)
            if is_silent:
                await self._speak()
        return work()

    async def _speak(self) -> None:
        await self._conn.execute("select 1")
        self._heard_at = self._loop.time()
