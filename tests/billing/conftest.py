"""A running billing house on real servers, and people who call it."""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from services.billing.app import build_app
from services.billing.consumer import READING
from services.kafka import ensure_topics
from services.settings import Settings
from tests.log import DIRECTORY, applied, put
from tests.tokens import make_token


async def token(settings: Settings, kind: Any, firms: tuple[str, ...]) -> str:
    """Make a token of some kind, bound to firms."""
    bounds = {"firms": firms, "placements": ("*",), "sources": ("*",)}
    return await make_token(settings, kind, principal_id=f"{kind}:test", **bounds)


@dataclass
class Billing:
    """The house's API as finance sees it."""

    settings: Settings
    server: TestServer
    session: ClientSession
    finance: str

    async def call(self, method: str, path: str, body: Any = None, *, bearer: str = "",
                   status: int = 200) -> Any:  # fmt: skip
        headers = {"Authorization": f"Bearer {bearer or self.finance}"}
        if method == "POST":
            headers["Idempotency-Key"] = secrets.token_hex(8)
        url = self.server.make_url(path)
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            text = await answer.text()
            assert answer.status == status, text
            if status == 503:
                assert int(answer.headers["Retry-After"]) > 0
            return await answer.json(content_type=None) if "json" in answer.content_type else text

    async def command(self, *words: str) -> tuple[int | None, str, str]:
        """Run a command in a process of its own, as finance would, and say how it ended."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from services.cli import main; main()", *words,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "TURNSHEET_HOME": str(self.settings.home),
                 "TURNSHEET_BILLING_URL": str(self.server.make_url("")).rstrip("/"),
                 "TURNSHEET_TOKEN": self.finance},
        )  # fmt: skip
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    async def settle(self, seconds: float = 30) -> None:
        """Wait until everything on the log is applied."""
        await applied(self.settings, READING, seconds=seconds)

    async def run(self, period: str, **more: Any) -> Any:
        """Run a month to its end."""
        begun = await self.call("POST", "/v1/runs", {"period": period} | more, status=202)
        return await self.ended(begun["run_id"])

    async def ended(self, run_id: str) -> Any:
        """Wait until a run is at its end, and return it. Raises TimeoutError after a minute."""
        async with asyncio.timeout(60):
            while (run := await self.call("GET", f"/v1/runs/{run_id}"))["state"] != "done":  # noqa: ASYNC110 (another process's state)
                await asyncio.sleep(0.05)
        return run

    async def run_and_issue(self, period: str, invoice_date: str) -> Any:
        """Run, approve and issue a month; return the issue's answer."""
        run = await self.run(period)
        for firm in run["firms"]:
            if firm["invoice_id"]:
                await self.call("POST", f"/v1/invoices/{firm['invoice_id']}/approve")
        return await self.call(
            "POST", f"/v1/runs/{run['run_id']}/issue", {"invoice_date": invoice_date}
        )


@pytest.fixture
async def billing(settings: Settings) -> AsyncIterator[Billing]:
    await ensure_topics(settings)
    await put(settings, DIRECTORY, "admin:a")
    server = TestServer(build_app(settings))
    await server.start_server()
    async with ClientSession() as session:
        house = Billing(settings, server, session, await token(settings, "finance", ("*",)))
        card = {"country": "PH", "role": "legal_assistant", "rate": "15.25"}
        await house.call("PUT", "/v1/rate-cards", card | {"valid_from": "2026-01-01"})
        terms = {"approval": "none", "effective_month": "2026-01"}
        await house.call("PUT", "/v1/firms/firm-1/billing-terms", terms)
        yield house
    await server.close()


@pytest.fixture
async def owner(billing: Billing) -> AsyncIterator[asyncpg.Connection]:
    """The database as its owner, who may change what no house may."""
    conn = await asyncpg.connect(billing.settings.database_url)
    yield conn
    await conn.close()
