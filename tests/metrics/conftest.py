"""A running metrics house on real servers: events go onto the log, figures are read by HTTP."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from services.folding import caught_up
from services.kafka import ensure_topics, log_ends
from services.metrics.app import build_app, build_ops
from services.metrics.consumer import READING
from services.postgres import Connection, connect
from services.settings import Settings
from services.web.auth import Kind, NewToken, create_token
from tests.log import put
from tests.serving import served


@dataclass(frozen=True)
class Tester:
    """Who makes tokens in tests."""

    id: str = "admin:tester"


@dataclass
class Reply:
    """An answer."""

    status: int
    body: Any
    headers: Any


@dataclass
class House:
    """The running house."""

    settings: Settings
    conn: Connection
    http: aiohttp.ClientSession
    url: str
    ops_url: str

    async def token(self, kind: Kind = "firm", firms: Iterable[str] = ("firm-1",)) -> str:
        """Make a token that sees some firms."""
        conn = await connect(self.settings, "identity", "writer")
        now = datetime.now(UTC)
        new = NewToken(f"{kind}:one", kind, now + timedelta(days=1), firms=tuple(firms))
        try:
            return await create_token(
                conn, self.settings.token_pepper, new, actor=Tester(), now=now - timedelta(days=1)
            )
        finally:
            await conn.close()

    async def put(self, bodies: Iterable[bytes], principal: str = "tracker:as-1") -> None:
        """Put events on the log, and wait until every effect of them is there."""
        await put(self.settings, bodies, principal)
        await self.settle()

    async def settle(self) -> None:
        """Wait until everything on the log is applied."""
        topics = [self.settings.topic(name) for name in READING.topics]
        ends = await log_ends(self.settings, topics)
        async with asyncio.timeout(30):
            while not await caught_up(self.conn, ends):  # noqa: ASYNC110 (another task's table)
                await asyncio.sleep(0.02)

    async def get(self, token: str | None, path: str, **headers: str) -> Reply:
        """Ask; header names are given with _ for -."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        async with self.http.get(self.url + path, headers=sent) as response:
            body = await response.json(content_type=None) if response.status != 304 else None
            return Reply(response.status, body, response.headers)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[House]:
    """Run the house for the length of a block."""
    await ensure_topics(settings)
    app = build_app(settings)
    conn = await connect(settings, "metrics", "writer")
    try:
        async with (
            served("metrics", app, build_ops(app)) as urls,
            aiohttp.ClientSession() as http,
        ):
            yield House(settings, conn, http, *urls)
    finally:
        await conn.close()


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    """A house of the test's own."""
    async with running(settings) as found:
        yield found
