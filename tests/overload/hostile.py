"""Clients that mean harm: half a request a byte at a time, and bodies that grow when unpacked."""

import asyncio
import gzip
import socket
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path

from tests.overload.wire import (
    BATCH_MEDIA,
    NDJSON,
    Told,
    ask,
    going_on,
    head,
    line_to,
    note,
    request,
)

MEBIBYTE = 2**20
LIMIT = 4 * MEBIBYTE


def drip(
    port: int,
    token: str,
    *,
    connections: int,
    seconds: float,
    pause: float,
    ends: Path | None = None,
) -> int:
    """Hold connections with half-sent requests, a byte at a time; those that end begin again.

    Returns how many were begun. For a process of its own.
    """
    return asyncio.run(_drip(port, token, connections, going_on(seconds, ends), pause))


async def _drip(
    port: int, token: str, connections: int, goes_on: Callable[[], bool], pause: float
) -> int:
    begun = 0
    sent = (
        b"GET /docs/ingest HTTP/1.1\r\nHost: x\r\nX-Nothing: ",  # half a header
        b"",
        head(token, 1_000_000),  # a body that never ends
        head("no-token", 1_000_000),  # refused, and sends on
    )

    async def one(number: int, beginning: bytes) -> None:
        nonlocal begun
        await asyncio.sleep(pause * number / connections)
        while goes_on():
            begun += 1
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(beginning)
                while goes_on() and not reader.at_eof():
                    await asyncio.sleep(pause)
                    writer.write(b"x")
                    await writer.drain()
                writer.close()
            except OSError:
                await asyncio.sleep(pause)

    await asyncio.gather(
        *(one(number, start) for number, start in zip(range(connections), cycle(sent)))
    )
    return begun


@cache  # they take seconds to make
def bombs() -> dict[str, tuple[str, bytes, int]]:
    """Bodies that cost much to look at: media type, gzip, and the status that they deserve."""
    edge = b" " * (LIMIT - 2)
    packed = _packed(b"\0" * MEBIBYTE, 32)
    return {
        "zeros, 1,000 to one": (NDJSON, packed, 413),
        "one byte too many": (NDJSON, gzip.compress(b" " * (LIMIT + 1), 9), 413),
        "a bomb in a bomb": (NDJSON, gzip.compress(packed, 9), 422),
        "blanks up to the limit": (BATCH_MEDIA, gzip.compress(b"[" + edge + b"]", 9), 422),
        "lines of nothing": (NDJSON, gzip.compress(b"\n" * LIMIT, 9), 422),
        "brackets": (BATCH_MEDIA, gzip.compress(b"[" * MEBIBYTE, 9), 400),
        "numbers": (BATCH_MEDIA, gzip.compress(b"[" + b"0," * 2_000_000 + b"0]", 9), 413),
        "events of nothing": (BATCH_MEDIA, gzip.compress(_events_of_nothing(), 9), 422),
        "a long text": (BATCH_MEDIA, gzip.compress(b'["' + b"a" * (LIMIT - 4) + b'"]', 9), 422),
    }


def _events_of_nothing() -> bytes:
    """Ten events as large as they may be, each with as many values as fit."""
    hollow = b'{"data":[' + b",".join([b"{}"] * 21_000) + b"]}"
    return b"[" + b",".join([hollow] * 10) + b"]"


def _packed(block: bytes, times: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return b"".join(packer.compress(block) for _ in range(times)) + packer.flush()


def throw_bombs(port: int, token: str, *, clients: int, seconds: float, pause: float) -> Told:
    """Throw every bomb again and again, from some clients at once; for a process of its own."""
    return asyncio.run(_throw(port, token, clients, seconds, pause))


async def _throw(port: int, token: str, clients: int, seconds: float, pause: float) -> Told:
    told = Told()
    kinds = list(bombs().items())
    until = time.monotonic() + seconds
    sent: Callable[[str, bytes], bytes] = lambda media, body: request(  # noqa: E731 (one word of it)
        token, body, media, "Content-Encoding: gzip"
    )

    async def one(number: int) -> None:
        line = line_to(port)
        for name, (media, body, status) in cycle(kinds[number:] + kinds[:number]):
            if time.monotonic() > until:
                break
            started = time.monotonic()
            try:
                answer = await ask(line, sent(media, body))
            except OSError:
                told.statuses[0] += 1
                continue
            note(told, answer, name, time.monotonic() - started)
            if answer.status not in {status, 503}:
                told.surprises.append(f"{name}: {answer.status}")
            await asyncio.sleep(pause)
        await line.close()

    await asyncio.gather(*(one(number % len(kinds)) for number in range(clients)))
    return told


@dataclass
class Sipped:
    """What slow readers came to: answers that were begun, bytes that they took."""

    begun: int = 0
    taken: int = 0


def sip(port: int, token: str, *, path: str, readers: int, seconds: float) -> Sipped:
    """Ask for an answer and take it a byte a second; for a process of its own."""
    return asyncio.run(_sip(port, token, path, readers, seconds))


async def _sip(port: int, token: str, path: str, readers: int, seconds: float) -> Sipped:
    told = Sipped()
    until = time.monotonic() + seconds
    loop = asyncio.get_running_loop()
    ask = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()

    async def one() -> None:
        while time.monotonic() < until:
            with socket.socket() as line:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
                line.setblocking(False)
                try:
                    await loop.sock_connect(line, ("127.0.0.1", port))
                    await loop.sock_sendall(line, ask * 4)
                    told.begun += 1
                    while time.monotonic() < until and await loop.sock_recv(line, 1):
                        told.taken += 1
                        await asyncio.sleep(1)
                except OSError:
                    await asyncio.sleep(0.2)

    await asyncio.gather(*(one() for _ in range(readers)))
    return told
