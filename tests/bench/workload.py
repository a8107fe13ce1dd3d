"""The work of a run: a simulated month, as bodies that its senders would post."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.demo.delivery import deliver, make_tokens
from services.demo.workload import Workload, by_principal, simulate
from services.machine.operator_tokens import ensure_operator_tokens
from services.settings import Settings
from tests.bench.load import post, write_requests

JSON = "application/cloudevents-batch+json"
LINES = "application/x-ndjson"
SINGLE = "application/cloudevents+json"


def month(firm_count: int) -> Workload:
    """Simulate a whole month that ended some weeks ago, so that no event is too old."""
    first = (datetime.now(UTC).date().replace(day=1) - timedelta(days=40)).replace(day=1)
    return simulate(firm_count, 1, seed=5, first_day=first)


@dataclass(frozen=True)
class Bodies:
    """Bodies of `size` events, each of one sender, and the senders' tokens."""

    size: int
    parts: Sequence[tuple[str, Sequence[bytes]]]
    tokens: dict[str, str]

    def write(self, path: Path, media: str, *, for_peer: bool = False) -> Path:
        """Write them as requests; a peer knows no token and takes plain JSON."""
        return write_requests(path, self._requests(media, for_peer=for_peer))

    def _requests(self, media: str, *, for_peer: bool) -> Iterator[bytes]:
        for principal, events in self.parts:
            token = "" if for_peer else self.tokens[principal]
            said = "application/json" if for_peer and media == JSON else media
            yield post("/v1/events", _join(events, media), said, token)


def _join(events: Sequence[bytes], media: str) -> bytes:
    return b"[" + b",".join(events) + b"]" if media == JSON else b"\n".join(events)


def bodies(work: Workload, tokens: dict[str, str], size: int) -> Bodies:
    """Cut each sender's events into bodies of one size."""
    parts = [
        (principal, [one.body for one in sent[start : start + size]])
        for principal, sent in by_principal(work.events)
        for start in range(0, len(sent) - size + 1, size)
    ]
    return Bodies(size, parts, tokens)


async def prepare(settings: Settings, work: Workload) -> dict[str, str]:
    """Tell a running ingest the directory, and return a token for each sender."""
    tokens = await make_tokens(settings, work.world)
    admin = (await ensure_operator_tokens(settings))["admin"]
    await deliver(settings, work.directory, {"admin:agency": admin})
    return tokens


def prepared(settings: Settings, work: Workload) -> dict[str, str]:
    """Do the same from a program without a loop."""
    return asyncio.run(prepare(settings, work))
