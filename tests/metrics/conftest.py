"""A running metrics house on real servers: events go onto the log, figures are read by HTTP."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from services.kafka import ensure_topics
from services.metrics.app import build_app, build_ops
from services.metrics.consumer import READING
from services.postgres import Connection, connect
from services.settings import Settings
from services.web.auth import Kind
from tests.log import applied, put
from tests.serving import served
from tests.tokens import make_token


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
        return await make_token(self.settings, kind, firms=tuple(firms), placements=(), sources=())

    async def put(self, bodies: Iterable[bytes], principal: str = "tracker:as-1") -> None:
        """Put events on the log, and wait until every effect of them is there."""
        await put(self.settings, bodies, principal)
        await self.settle()

    async def settle(self) -> None:
        """Wait until everything on the log is applied."""
        await applied(self.settings, READING, self.conn)

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
