"""Trackers under load: they send the same ids again until those are acknowledged."""

import asyncio
import time
from collections.abc import Mapping

from services.producer import OutcomeUnknown, Overloaded, Producer
from services.settings import Settings
from tests import tally
from tests.faults.pace import Pace
from tests.log import entry, record

PATIENCE_SECONDS = 100.0  # where nothing is promised
SLACK_SECONDS = 1.0  # beyond a promise


class Tracker:
    """Sends entries as trackers do, and notes what it was told."""

    def __init__(self, settings: Settings, producer: Producer) -> None:
        self.topic = settings.topic("time-events")
        self.deadline_seconds = settings.produce_deadline_seconds
        self.producer = producer
        self.acknowledged: list[str] = []
        self.unknown = 0
        self.latest_seconds = 0.0  # beyond the deadline, less what the machine made us wait
        self.stop = asyncio.Event()

    async def work(self, name: str, firm_id: str = "firm-1") -> None:
        """Send ten new entries after the other until told to stop."""
        number = 0
        while not self.stop.is_set():
            ids = [f"{name}-{number}-{n}" for n in range(10)]
            while not await self._send(ids, firm_id):  # noqa: ASYNC110 (a tracker's pause)
                await asyncio.sleep(0.05)
            self.acknowledged += ids
            number += 1
            await asyncio.sleep(0.01)

    async def _send(self, ids: list[str], firm_id: str) -> bool:
        started, pace = time.monotonic(), Pace()
        try:
            await self.producer.produce(
                self.topic,
                [record(entry(i, 1, firm_id=firm_id)) for i in ids],
                self.deadline_seconds,
            )
        except (OutcomeUnknown, Overloaded):
            self.unknown += 1
            return False
        finally:
            late = pace.late(time.monotonic() - started, self.deadline_seconds)
            self.latest_seconds = max(self.latest_seconds, late)
        return True

    async def until_more(self, count: int, within: float = 0.0) -> float:
        """Wait until so many more are acknowledged; return how late, after `within` seconds."""
        wanted, started, pace = len(self.acknowledged) + count, time.monotonic(), Pace()
        await tally.until(lambda: len(self.acknowledged) >= wanted, PATIENCE_SECONDS)
        return pace.late(time.monotonic() - started, within)

    async def until_refused(self, count: int) -> None:
        """Wait until so many more sendings were answered with "unknown"."""
        wanted = self.unknown + count
        await tally.until(lambda: self.unknown >= wanted, PATIENCE_SECONDS)

    def compare(self, rows: Mapping[str, tuple[int, str | None]]) -> None:
        """Assert that all was answered in time, and that it has one effect if acknowledged."""
        assert self.latest_seconds < SLACK_SECONDS
        assert set(rows) == set(self.acknowledged)
        assert set(rows.values()) == {(1, "PH")}
