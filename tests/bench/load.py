"""A sender of HTTP requests in a process of its own, so that its work is not counted as ours.

It takes jobs as lines of JSON on its input and answers each with a line: which file of requests
(ready to be written, framed by their length), to which port, over how many connections.
"""

import asyncio
import json
import statistics
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from tests.bench.ground import ROOT

FRAME = struct.Struct(">I")


def write_requests(path: Path, requests: Iterable[bytes]) -> Path:
    """Keep requests, whole with their headers, in a file."""
    with path.open("wb") as file:
        for request in requests:
            file.write(FRAME.pack(len(request)) + request)
    return path


def read_requests(path: Path) -> list[bytes]:
    """Read requests back."""
    raw, place, found = path.read_bytes(), 0, []
    while place < len(raw):
        (size,) = FRAME.unpack_from(raw, place)
        found.append(raw[place + FRAME.size : place + FRAME.size + size])
        place += FRAME.size + size
    return found


def post(path: str, body: bytes, media: str, token: str = "") -> bytes:
    """Write a POST as it goes over the wire."""
    head = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {media}",
        f"Content-Length: {len(body)}",
    ]
    if token:
        head.append(f"Authorization: Bearer {token}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def get(path: str, token: str) -> bytes:
    """Write a GET as it goes over the wire."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()


class Load:
    """The sender, as whoever measures sees it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.load"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        """Give the sender."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the sender."""
        assert self._process.stdin is not None
        self._process.communicate(timeout=10)

    def send(
        self, port: int, requests: Path, count: int, connections: int, rate: float = 0
    ) -> dict[str, Any]:
        """Send `count` requests and return seconds, statuses and latencies in milliseconds.

        With a `rate` they are sent at that many a second, each timed from when it was due.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {
            "port": port,
            "requests": str(requests),
            "count": count,
            "connections": connections,
            "rate": rate,
        }
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def check_answers(told: dict[str, Any], status: int, who: str) -> None:
    """Raise RuntimeError unless all requests of a job were answered with one status."""
    if told["statuses"].keys() != {str(status)}:
        raise RuntimeError(f"{who}: {told['statuses']} {told['refused']}")


async def _one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes]:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lowered = head.lower()
    at = lowered.find(b"content-length:")
    size = int(lowered[at + 15 : lowered.index(b"\r\n", at)]) if at >= 0 else 0
    body = await reader.readexactly(size) if size else b""
    return int(head[9:12]), body


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job."""
    requests = read_requests(Path(job["requests"]))
    count, rate = job["count"], job["rate"]
    statuses: Counter[int] = Counter()
    taken: list[float] = []
    numbers = iter(range(count))
    sample = b""
    started = time.perf_counter()

    async def connection() -> None:
        nonlocal sample
        reader, writer = await asyncio.open_connection("127.0.0.1", job["port"], limit=2**22)
        try:
            for number in numbers:
                due = time.perf_counter()
                if rate:
                    due = started + number / rate
                    if (wait := due - time.perf_counter()) > 0:
                        await asyncio.sleep(wait)
                status, body = await _one(reader, writer, requests[number % len(requests)])
                taken.append((time.perf_counter() - due) * 1000)
                statuses[status] += 1
                if status >= 300:
                    sample = body[:500]
        finally:
            writer.close()

    await asyncio.gather(*(connection() for _ in range(job["connections"])))
    quantiles = statistics.quantiles(taken, n=100) if len(taken) > 1 else taken * 99
    return {
        "seconds": time.perf_counter() - started,
        "statuses": dict(statuses),
        "p50": quantiles[49],
        "p95": quantiles[94],
        "p99": quantiles[98],
        "refused": sample.decode("utf-8", "replace"),
    }


def main() -> None:
    """Do jobs until the input ends."""
    for line in sys.stdin:
        print(json.dumps(asyncio.run(run(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
