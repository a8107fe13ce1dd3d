"""Billing's parts, made and put together: consumer, run worker, API and health."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final

from aiohttp import web

from services.billing.api import ROUTES, SETTINGS, WRITER_POOL
from services.billing.consumer import READING
from services.billing.jobs import work
from services.consuming import consume
from services.http import FIRM_POOL, make_app, make_ops_app
from services.kafka import log_ends
from services.postgres import CONNECT_SECONDS, open_pool
from services.serving import Check
from services.settings import Settings

TASKS: Final = web.AppKey[Iterable[asyncio.Task[None]]]("tasks")
STOP_SECONDS = 6.0


def build_app(settings: Settings) -> web.Application:
    """Put billing together."""
    app = make_app("billing", ROUTES, settings)
    app[SETTINGS] = settings
    app.cleanup_ctx.extend([_writer_pool, _tasks])
    return app


def build_ops(app: web.Application) -> web.Application:
    """Put the health of a built app together."""
    checks: dict[str, Check] = {
        "postgres": lambda: _check_postgres(app),
        "kafka": lambda: _check_kafka(app),
        "tasks": lambda: _check_tasks(app),
    }
    return make_ops_app(checks)


async def _writer_pool(app: web.Application) -> AsyncIterator[None]:
    app[WRITER_POOL] = await open_pool(app[SETTINGS], "billing", "writer", size=4)
    yield
    await app[WRITER_POOL].close()


async def _tasks(app: web.Application) -> AsyncIterator[None]:
    stop = asyncio.Event()
    tasks = (
        asyncio.create_task(consume(app[SETTINGS], READING, stop)),
        asyncio.create_task(work(app[SETTINGS], stop)),
    )
    app[TASKS] = tasks
    yield
    stop.set()
    await asyncio.wait(tasks, timeout=STOP_SECONDS)
    for task in tasks:
        task.cancel()


async def _check_postgres(app: web.Application) -> str | None:
    async with app[FIRM_POOL].acquire(timeout=CONNECT_SECONDS) as conn:
        await conn.execute("select 1")
    return None


async def _check_kafka(app: web.Application) -> str | None:
    await log_ends(app[SETTINGS], [app[SETTINGS].topic("time-events")])
    return None


async def _check_tasks(app: web.Application) -> str | None:
    return "a task has ended" if any(task.done() for task in app[TASKS]) else None
