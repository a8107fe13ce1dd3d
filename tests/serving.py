"""A house served in this process, on ports of its own, for the length of a block."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from services.web.serving import serve


@asynccontextmanager
async def served(
    service: str, app: web.Application, ops: web.Application
) -> AsyncIterator[tuple[str, str]]:
    """Give the addresses of the API and of the health; at the end the house stops as in life."""
    stop = asyncio.Event()
    ports: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(
            service,
            app,
            ops,
            host="127.0.0.1",
            port=0,
            ops_port=0,
            stop=stop,
            started=lambda *found: ports.set_result(found),
        )
    )
    first: set[asyncio.Future[Any]] = {task, ports}
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        url, ops_url = (f"http://127.0.0.1:{port}" for port in ports.result())
        yield url, ops_url
    finally:
        stop.set()
        await task
