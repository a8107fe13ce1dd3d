"""One stop under load: a service is told to end at a moment of chance, and says how it went."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from services.settings import Settings
from tests.overload import wire
from tests.overload.processes import PATIENCE_SECONDS, service

BATCH = 20
SECONDS_MAX = 10.0


class Stopped(NamedTuple):
    """How a service ended, and the batches that it had acknowledged."""

    house: str
    code: int | None
    seconds: float
    acknowledged: list[str]
    served: int
    server_errors: int
    words: str  # the last of its log

    @property
    def is_clean(self) -> bool:
        """Say whether it ended as it has to."""
        return self.code == 0 and self.seconds <= SECONDS_MAX and self.server_errors == 0


async def stop_under_load(
    call: Any, house: str, settings: Settings, log: Path, token: str, name: str, after: float
) -> Stopped:
    """Run a service under load and tell it to end after some seconds of it."""
    with service(house, settings, log) as one:
        await one.ready()
        load = (
            partial(wire.send_in_turn, clients=8, seconds=PATIENCE_SECONDS, batch=BATCH)
            if house == "ingest"
            else partial(wire.ask_in_turn, clients=8, seconds=PATIENCE_SECONDS, path=PATHS[house])
        )
        under_way = call(load, one.port, token, name)
        await one.answers(20)
        await asyncio.sleep(after)
        code, seconds = await asyncio.to_thread(one.stop)
        told: wire.Told = await under_way
    errors = (
        sum(count for status, count in told.statuses.items() if status >= 500)
        - (told.statuses[503])
    )
    served = sum(told.statuses.values())
    return Stopped(house, code, seconds, told.acknowledged, served, errors, _last_words(log))


def _last_words(log: Path) -> str:
    """Give what a service said last, less what it says of every request."""
    lines = [line for line in log.read_text().splitlines() if "request_served" not in line]
    return "\n".join(lines[-20:])


PATHS = {
    "metrics": "/v1/firms/firm-1/metrics?from=2026-07-01&to=2026-08-01&granularity=day",
    "billing": "/v1/firms/firm-1/timesheets?from=2026-07-01&to=2026-08-01",
}
