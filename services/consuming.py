"""Running a house's consumer: the log is read, and the refold queue drained beside it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog

from schemas.events import TOPIC_OF_KIND
from services.folding import SIGNS, SQL, Reading, apply, drain_refolds, load_offsets, place
from services.log_applying import Batch, LogState, Progress
from services.log_health import Health
from services.log_reader import read_log, wait_or_stop
from services.postgres import STORE_ERRORS, Connection, connect, told_as_lost
from services.settings import Settings

CUT_SECONDS: Final = 75.0  # longer than any statement may take
LOOK_SECONDS: Final = 1.0
SIGNS_SECONDS: Final = 15.0
RETRY_SECONDS: Final = 1.0
STOP_SECONDS: Final = 1.5  # for what is under way when the consumer is told to stop
log = structlog.get_logger()


class Applying:
    """A dedicated connection that comes back after the database was away."""

    def __init__(self, settings: Settings, reading: Reading, queued: asyncio.Event) -> None:
        self._settings = settings
        self._reading = reading
        self._queued = queued
        self._conn: Connection | None = None

    async def place(self, topic: str, partition: int, state: LogState) -> Progress:
        """Return where to read on. Raises `Discontinuity`."""
        async with self._connection() as conn:
            return await place(conn, topic, partition, state)

    async def apply(self, batches: Sequence[Batch]) -> None:
        """Apply batches, and wake the drainer for what they may have queued. Raises `Fenced`."""
        async with self._connection() as conn:
            await apply(conn, self._reading, batches)
        if any(batch.topic.endswith(TOPIC_OF_KIND["firm"]) for batch in batches):
            self._queued.set()

    async def offsets(self) -> Mapping[tuple[str, int], int]:
        """Return the next offset of every partition that has been read."""
        async with self._connection() as conn:
            return await load_offsets(conn)

    async def drain(self) -> None:
        """Fold again whatever is due, a slice at a time."""
        taken = 1
        while taken:
            async with self._connection() as conn:
                taken = await drain_refolds(conn, self._reading)

    async def queue_failed(self) -> None:
        """Have every failed entity folded again."""
        async with self._connection() as conn:
            await conn.execute(SQL.queue_failed)

    async def look(self) -> None:
        """Set the gauges of what waits and what went wrong."""
        async with self._connection() as conn:
            row = await conn.fetchrow(SQL.load_signs)
        assert row is not None
        for name, gauge in SIGNS.items():
            gauge.labels(self._reading.house).set(row[name])
        if row["unknown_placements"]:
            log.error(
                "placements_unknown", house=self._reading.house, count=row["unknown_placements"]
            )

    def cut(self) -> None:
        """End what is under way: its transaction is rolled back, and done again by the next."""
        if self._conn is not None:
            self._conn.terminate()

    async def close(self) -> None:
        """Close the connection, at once when the database does not answer."""
        conn, self._conn = self._conn, None
        if conn is None:
            return
        try:
            await conn.close(timeout=1)
        except STORE_ERRORS:
            conn.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """Give the connection, a new one where the last is broken, and bound what is done on it.

        A database that is frozen answers nothing and refuses nothing: then the connection is cut.
        """
        if self._conn is None or self._conn.is_closed():
            self._conn = await connect(self._settings, self._reading.house, "writer")
        conn = self._conn
        cut = asyncio.get_running_loop().call_later(CUT_SECONDS, conn.terminate)
        try:
            with told_as_lost(conn.is_closed):
                yield conn
        finally:
            cut.cancel()


async def consume(
    settings: Settings, reading: Reading, stop: asyncio.Event, health: Health | None = None
) -> None:
    """Read the log into a house's tables until told to stop, whatever is away in between.

    `health`, when given, is kept up to date: a readiness check asks it for its problem.
    """
    queued = asyncio.Event()
    reader, drainer = (Applying(settings, reading, queued) for _ in range(2))
    topics = [settings.topic(name) for name in reading.topics]
    cutting = asyncio.create_task(_cut_late(stop, reader, drainer))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(
                read_log(settings, reading.house, topics, reader, stop, health or Health())
            )
            group.create_task(_drain_until(drainer, reading, queued, stop))
    finally:
        cutting.cancel()
        await asyncio.gather(reader.close(), drainer.close())


async def check_consuming(consuming: asyncio.Task[None], health: Health) -> str | None:
    """Say why a consumer is not ready; None when it is."""
    if consuming.done():
        return "the consumer has ended"
    return health.problem(asyncio.get_running_loop().time())


async def _cut_late(stop: asyncio.Event, *applying: Applying) -> None:
    """Wait for a stop no longer than for a transaction: a frozen database would never end it."""
    await stop.wait()
    await asyncio.sleep(STOP_SECONDS)
    for one in applying:
        one.cut()


async def _drain_until(
    drainer: Applying, reading: Reading, queued: asyncio.Event, stop: asyncio.Event
) -> None:
    """Fold again what a poll, another process or a killed one has put into the queue."""
    loop = asyncio.get_running_loop()
    looked_at, begun = -SIGNS_SECONDS, False
    while not stop.is_set():
        queued.clear()
        try:
            if not begun:
                await drainer.queue_failed()
                begun = True
            await drainer.drain()
            if loop.time() - looked_at >= SIGNS_SECONDS:
                await drainer.look()
                looked_at = loop.time()
        except STORE_ERRORS as error:
            log.warning("refold_delayed", house=reading.house, error=type(error).__name__)
            await wait_or_stop(RETRY_SECONDS, stop)
        await wait_or_stop(LOOK_SECONDS, stop, queued)
