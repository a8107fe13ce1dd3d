"""A running door on real servers, with tokens to knock with and a look at the log behind it."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiokafka import ConsumerRecord

from schemas.events import TOPICS
from services.ingest.api import PRODUCER, WRITER_POOL
from services.ingest.app import build_app, build_ops
from services.ingest.store import load_firms_of_placements
from services.kafka import ensure_topics, log_ends
from services.postgres import connect
from services.settings import Settings
from services.web.auth import Kind, revoke_token
from services.web.http import LIMITS, Limits
from tests.log import records
from tests.serving import served
from tests.tokens import TESTER, make_token


@dataclass
class Door:
    """The running door."""

    settings: Settings
    app: Any
    http: aiohttp.ClientSession
    url: str
    ops_url: str
    tokens: dict[str, str] = field(default_factory=dict)

    async def token(self, kind: Kind = "tracker", **bounds: Any) -> str:
        """Make a token; by default a tracker's for asst-1 at placement p-1 of firm f-1."""
        usual = {"firms": ("f-1",), "placements": ("p-1",), "sources": ("tracker/asst-1",)}
        return await make_token(self.settings, kind, **(usual | bounds))

    async def admin(self) -> str:
        """Make a token that may write the directory of all firms."""
        return await self.token("admin", firms=("*",), placements=("*",), sources=("*",))

    async def revoke(self, token: str) -> None:
        conn = await connect(self.settings, "identity", "writer")
        try:
            token_id = token.split("_")[2]
            assert await revoke_token(conn, token_id, actor=TESTER, now=datetime.now(UTC))
        finally:
            await conn.close()

    async def post(
        self,
        token: str | None,
        body: bytes,
        media: str = "application/cloudevents+json",
        path: str = "/v1/events",
        **headers: str,
    ) -> "Reply":
        """Post a body; header names are given with _ for -."""
        sent = {"Content-Type": media} | {k.replace("_", "-"): v for k, v in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        async with self.http.post(self.url + path, data=io.BytesIO(body), headers=sent) as response:
            return Reply(response.status, await response.json(content_type=None), response.headers)

    async def records(self, topic: str) -> list[ConsumerRecord]:
        """Read a topic from its first record to its end now."""
        return await records(self.settings, [topic])

    async def log_is_empty(self) -> bool:
        """Say that no event has reached the log."""
        names = [self.settings.topic(topic) for topic in TOPICS]
        return set((await log_ends(self.settings, names)).values()) == {0}

    async def knows_placement(self, placement_id: str) -> None:
        """Wait until the door's own directory has a placement."""
        async with asyncio.timeout(20):
            while not await load_firms_of_placements(  # noqa: ASYNC110 (a row, not an event)
                self.app[WRITER_POOL], [placement_id]
            ):
                await asyncio.sleep(0.02)


@dataclass
class Reply:
    """An answer."""

    status: int
    body: Any
    headers: Any

    @property
    def codes(self) -> list[str | None]:
        """The code of each event's result, None where it was accepted."""
        results = self.body["results"] if self.status == 202 else self.body["errors"]
        return [result.get("code") for result in results]


@asynccontextmanager
async def running(settings: Settings, limits: Limits | None = None) -> AsyncIterator[Door]:
    """Run the door for the length of a block."""
    app = build_app(settings)
    app[LIMITS] = limits or app[LIMITS]
    async with (
        served("ingest", app, build_ops(app)) as urls,
        aiohttp.ClientSession() as http,
    ):
        yield Door(settings, app, http, *urls)


@pytest.fixture
async def door(settings: Settings) -> AsyncIterator[Door]:
    await ensure_topics(settings)
    async with running(settings) as door:
        await door.app[PRODUCER].wait_connected()
        yield door


def event(
    event_id: str = "a-1",
    name: str = "task.started",
    *,
    ago: timedelta = timedelta(minutes=1),
    source: str = "tracker/asst-1/laptop",
    **data: Any,
) -> dict[str, Any]:
    """Make an event of a moment ago, of task t-1 at placement p-1 of firm f-1."""
    base = {"firm_id": "f-1", "placement_id": "p-1", "task_id": "t-1"}
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": f"turnsheet.{name}.v1",
        "time": (datetime.now(UTC) - ago).isoformat(),
        "data": {k: v for k, v in (base | data).items() if v is not ...},
    }


def raw(content: Any) -> bytes:
    """Write JSON in a form that nobody else would choose."""
    return json.dumps(content, indent=1, separators=(" ,", ":  ")).encode()


PLACED: dict[str, Any] = {
    "assistant_id": "asst-1",
    "role": "legal_assistant",
    "country": "PH",
    "phase": "active",
    "coverage": "overnight",
    "shift": {"zone": "Asia/Manila", "slots": []},
    "supervising_attorney_id": "u-1",
    "started_at": "2026-01-01T00:00:00Z",
    "task_id": ...,
}
