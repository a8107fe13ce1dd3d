"""Long work inside a transaction: the loop keeps its turns, and Postgres hears that we live.

A session that says nothing inside a transaction is ended, so that a process that stands still loses
its locks. Whoever only computes for so long would lose them too, and again at every new attempt.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from services.postgres import Connection

SILENT_SECONDS: Final = 0.5  # a quarter of what Postgres bears
TURN_SECONDS: Final = 0.01  # for so long at most the loop waits, but for one piece of work
LARGE_RECORDS: Final = 1_000
Value = TypeVar("Value")


class Pulse:
    """One stretch of work on a connection whose transaction is open."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._turned_at = self._loop.time()

    async def run(self, work: Callable[[], Value], records: int) -> Value:
        """Do a pure piece of work; `records` says how large it is, a large one goes to a thread."""
        if records > LARGE_RECORDS:
            return await self.aside(work)
        now = self._loop.time()
        if now - self._turned_at > TURN_SECONDS:
            await asyncio.sleep(0)
            if now - self._heard_at > SILENT_SECONDS:
                await self._speak()
            self._turned_at = self._loop.time()
        return work()

    async def aside(self, work: Callable[[], Value]) -> Value:
        """Do a pure piece of work in a thread: meanwhile the loop serves, and reads the log."""
        doing = asyncio.ensure_future(asyncio.to_thread(work))
        while not (await asyncio.wait({doing}, timeout=SILENT_SECONDS))[0]:
            await self._speak()
        return doing.result()

    async def _speak(self) -> None:
        await self._conn.execute("select 1")
        self._heard_at = self._loop.time()
