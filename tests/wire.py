"""HTTP byte by byte: requests as they are written, answers as they come, over one connection."""

import asyncio
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

ANSWER_SECONDS = 25.0
HEAD_MAX = 64 * 1024


class Broken(AssertionError):
    """An answer that breaks the rules of HTTP."""


class CutShort(Broken):
    """An answer of which only a part came."""


@dataclass(frozen=True)
class Answer:
    """An answer as it came; names of headers in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def closes(self) -> bool:
        return (self.header("connection") or "").lower() == "close"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(
    method: str, path: str, headers: Iterable[tuple[str, str | bytes]], body: bytes = b""
) -> bytes:
    """Write a request; header values may be bytes that no client would send."""
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: turnsheet"]
    for name, value in headers:
        raw = value if isinstance(value, bytes) else value.encode("latin-1")
        lines.append(name.encode("latin-1") + b": " + raw)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def posted(
    path: str, headers: Iterable[tuple[str, str | bytes]], body: bytes, method: str = "POST"
) -> bytes:
    """Write a request with a body of a known length."""
    return request(method, path, [*headers, ("Content-Length", str(len(body)))], body)


class Line:
    """One connection that is opened again when the other side has closed it.

    It waits `seconds` for an answer at most.
    """

    def __init__(self, host: str, port: int, seconds: float = ANSWER_SECONDS) -> None:
        self._place = host, port
        self._seconds = seconds
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Forget the connection, and what is not sent yet; the next request opens another."""
        if self._writer is not None:
            self._writer.transport.abort()
            with suppress(ConnectionError):  # the other side was faster
                await self._writer.wait_closed()
        self._reader = self._writer = None

    async def ask(self, raw: bytes, *, patience: float | None = None) -> Answer | None:
        """Send bytes and return the answer; None when the connection was closed without one.

        `patience`: when nothing has come for so long, the other side hears that nothing more is
        sent, and the connection is not used again. Raises Broken, TimeoutError, and OSError when
        nobody listens.
        """
        answer = None
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._ask(raw, patience)
        finally:  # however it ended: what may still come is no answer to the next request
            if answer is None or answer.closes or patience is not None:
                await self.close()
        return answer

    async def _ask(self, raw: bytes, patience: float | None) -> Answer | None:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(*self._place, limit=HEAD_MAX)
        self._writer.write(raw)  # an answer may come before the last of it is sent
        answering = asyncio.ensure_future(
            self._answer(self._reader, bodiless=raw.startswith(b"HEAD "))
        )
        try:
            await asyncio.wait({answering}, timeout=patience)
            if not answering.done():
                with suppress(OSError):
                    self._writer.write_eof()
            return await answering
        finally:
            answering.cancel()

    async def _answer(self, reader: asyncio.StreamReader, *, bodiless: bool) -> Answer | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise CutShort(f"half an answer: {error.partial[:200]!r}") from None
            return None
        except ConnectionError:
            return None
        first, *rest = head[:-4].decode("latin-1").split("\r\n")
        version, status, _ = (first + " ").split(" ", 2)
        # aiohttp answers in the version that it was asked in, even in one that there is not.
        if not re.fullmatch(r"HTTP/[0-9]\.[0-9]", version) or not status.isdecimal():
            raise Broken(f"no status line: {first[:200]!r}")
        headers = tuple(
            (name.strip().lower(), value.strip())
            for name, _, value in (line.partition(":") for line in rest)
        )
        if version == "HTTP/1.0":  # what could not be parsed is answered so, and closed
            headers = (*headers, ("connection", "close"))
        found = Answer(int(status), headers, b"")
        if found.status == 100:
            return await self._answer(reader, bodiless=bodiless)
        length = found.header("content-length")
        if found.status == 304 or bodiless:
            return found
        if length is None:
            raise Broken(f"an answer without a length: {head[:300]!r}")
        try:
            body = await reader.readexactly(int(length))
        except asyncio.IncompleteReadError:
            raise CutShort(f"an answer cut short: {head[:300]!r}") from None
        return Answer(found.status, headers, body)


async def ask_once(
    host: str, port: int, raw: bytes, *, patience: float | None = None
) -> Answer | None:
    """Ask on a connection of its own."""
    async with Line(host, port) as line:
        return await line.ask(raw, patience=patience)
