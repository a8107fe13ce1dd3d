"""Clients written on bare streams: honest ones that keep time, and those that mean harm."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.wire import Answer, CutShort, Line

NDJSON = "application/x-ndjson"
BATCH_MEDIA = "application/cloudevents-batch+json"
ANSWER_SECONDS = 40.0
LARGEST = 5_000  # events in a request; padded, they come near four mebibytes


@dataclass
class Told:
    """What a load was told: answers by status, batches that were acknowledged, seconds waited.

    in_time  how many were acknowledged while it lasted; others were under way when it ended
    took     seconds that it lasted
    """

    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    acknowledged: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    without_retry: int = 0
    surprises: list[str] = field(default_factory=list)
    in_time: int = 0
    took: float = 0.0

    def add(self, other: "Told") -> None:
        """Add what another load was told."""
        self.statuses += other.statuses
        self.acknowledged += other.acknowledged
        self.seconds += other.seconds
        self.without_retry += other.without_retry
        self.surprises += other.surprises

    def percentile(self, share: float) -> float:
        """Give the seconds within which that share of the answers came."""
        ordered = sorted(self.seconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


async def ask(line: Line, sent: bytes) -> Answer:
    """Send a whole request and read its answer. Raises OSError when none came, or a part of one."""
    try:
        answer = await line.ask(sent)
    except CutShort as error:
        raise ConnectionResetError from error
    if answer is None:
        raise ConnectionResetError
    return answer


def line_to(port: int) -> Line:
    """Make a connection that waits for its answers as long as a patient client does."""
    return Line("127.0.0.1", port, ANSWER_SECONDS)


def request(token: str, body: bytes, media: str = NDJSON, *more: str) -> bytes:
    """Write a whole POST of events."""
    return head(token, len(body), media, *more) + body


def head(token: str, length: int, media: str = NDJSON, *more: str) -> bytes:
    """Write the header of a POST of events."""
    lines = (
        "POST /v1/events HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token}",
        f"Content-Type: {media}",
        f"Content-Length: {length}",
        *more,
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def entries(name: str, count: int) -> bytes:
    """Write a batch of recorded entries, one a line, whose ids begin with the name."""
    now = datetime.now(UTC).replace(microsecond=0)
    padding = {"padding": "x" * 417} if count == LARGEST else {}
    line = json.dumps(
        {
            "specversion": "1.0",
            "id": "@",
            "source": "tracker/as-1",
            "type": "turnsheet.time.recorded.v1",
            "time": now.isoformat(),
            "data": {
                "firm_id": "firm-1",
                "placement_id": "pl-1",
                "entry_id": "@",
                "started_at": (now - timedelta(minutes=6)).isoformat(),
                "ended_at": now.isoformat(),
                "task_type": "document_prep",
                "kind": "work",
                "billable": True,
            },
        }
        | padding
    )
    return "\n".join(line.replace("@", f"{name}.{number}") for number in range(count)).encode()


def send_steadily(
    port: int, token: str, name: str, *, rate: float, seconds: float, batch: int, lines_max: int
) -> Told:
    """Send batches at a steady rate, whatever is answered: an open load, for its own process."""
    return asyncio.run(_send_steadily(port, token, name, rate, seconds, batch, lines_max))


async def _send_steadily(
    port: int, token: str, name: str, rate: float, seconds: float, batch: int, lines_max: int
) -> Told:
    told = Told()
    free: list[Line] = []
    started = time.monotonic()
    under_way: set[asyncio.Task[bool]] = set()
    for number in range(int(rate * seconds)):
        wait = started + number / rate - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        elif number % 20 == 0:
            await asyncio.sleep(0)
        if len(under_way) >= lines_max:
            told.unanswered += 1  # it would have to wait for a connection of its own
            continue
        line = free.pop() if free else line_to(port)
        one = f"{name}-{number}"
        sent = request(token, entries(one, batch))
        task = asyncio.create_task(_send(line, sent, one, told, free))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    told.took, told.in_time = time.monotonic() - started, len(told.acknowledged)
    if under_way:
        await asyncio.wait(under_way)
    for line in free:
        await line.close()
    return told


async def _send(line: Line, sent: bytes, name: str, told: Told, free: list[Line]) -> bool:
    """Send one request and note its answer; say whether nobody is there any more."""
    started = time.monotonic()
    try:
        answer = await ask(line, sent)
    except OSError as error:
        told.statuses[0] += 1
        return isinstance(error, ConnectionRefusedError)
    finally:
        free.append(line)
    note(told, answer, name, time.monotonic() - started)
    return False


def note(told: Told, answer: Answer, name: str, seconds: float) -> None:
    """Note one answer."""
    told.statuses[answer.status] += 1
    told.seconds.append(seconds)
    if answer.status == 202:
        told.acknowledged.append(name)
    elif answer.status in {429, 503} and answer.header("retry-after") is None:
        told.without_retry += 1


@contextmanager
def lasting(ends: Path) -> Iterator[Path]:
    """Let a load last for the length of a block: it goes on until there is this file."""
    try:
        yield ends
    finally:
        ends.touch()


def going_on(seconds: float, ends: Path | None = None) -> Callable[[], bool]:
    """Say whether a load goes on: for so many seconds from now, or until there is such a file."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() < until and not (ends and ends.exists())


def send_in_turn(
    port: int,
    token: str,
    name: str,
    *,
    clients: int,
    seconds: float,
    batch: int,
    pause: float = 0,
    ends: Path | None = None,
) -> Told:
    """Send batches from some clients that each wait for their answer, for a process of its own.

    A client whose connection is refused ends: there is nobody any more.
    """
    make: Callable[[str], bytes] = lambda one: request(token, entries(one, batch))  # noqa: E731 (one word of it)
    return asyncio.run(_in_turn(port, name, make, clients, going_on(seconds, ends), pause))


def ask_in_turn(
    port: int, token: str, name: str, *, clients: int, seconds: float, path: str, pause: float = 0
) -> Told:
    """Ask for one address from some clients, likewise."""
    sent = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    return asyncio.run(_in_turn(port, name, lambda _: sent, clients, going_on(seconds), pause))


async def _in_turn(
    port: int,
    name: str,
    make: Callable[[str], bytes],
    clients: int,
    goes_on: Callable[[], bool],
    pause: float,
) -> Told:
    told = Told()
    started = time.monotonic()

    async def client(who: int) -> None:
        line, number = line_to(port), 0
        while goes_on():
            one = f"{name}-{who}-{number}"
            if await _send(line, make(one), one, told, []):
                break
            number += 1
            if pause:
                await asyncio.sleep(pause)
        await line.close()

    await asyncio.gather(*(client(who) for who in range(clients)))
    told.took = time.monotonic() - started
    return told


def ids_of(batches: Iterable[str], count: int) -> set[str]:
    """Name the events of batches."""
    return {f"{name}.{number}" for name in batches for number in range(count)}
