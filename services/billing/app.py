"""Billing's parts, made and put together: consumer, run worker, API and health."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from aiohttp import web

from services.billing.api import ROUTES, SETTINGS, WRITER_POOL
from services.billing.consumer import READING
from services.billing.jobs import work
from services.consuming import check_consuming, consume
from services.log_health import Health
from services.postgres import close_pool, open_pool
from services.settings import Settings
from services.web.http import check_postgres, make_app, make_ops_app
from services.web.serving import Check, beside

HEALTH: Final = web.AppKey("health", Health)
CONSUMING: Final = web.AppKey[asyncio.Task[None]]("consuming")
RUN_WORKER: Final = web.AppKey[asyncio.Task[None]]("run_worker")


def build_app(settings: Settings) -> web.Application:
    """Put billing together."""
    app = make_app("billing", ROUTES, settings)
    app[SETTINGS] = settings
    app[HEALTH] = Health()
    app.cleanup_ctx.extend([_writer_pool, _tasks])
    return app


def build_ops(app: web.Application) -> web.Application:
    """Put the health of a built app together."""
    checks: dict[str, Check] = {
        "postgres": lambda: check_postgres(app),
        "log": lambda: check_consuming(app[CONSUMING], app[HEALTH]),
        "runs": lambda: _check_runs(app),
    }
    return make_ops_app(checks)


async def _writer_pool(app: web.Application) -> AsyncIterator[None]:
    app[WRITER_POOL] = await open_pool(app[SETTINGS], "billing", "writer", size=4)
    yield
    await close_pool(app[WRITER_POOL])


async def _tasks(app: web.Application) -> AsyncIterator[None]:
    async with beside(
        app,
        partial(consume, app[SETTINGS], READING, health=app[HEALTH]),
        partial(work, app[SETTINGS]),
    ) as (app[CONSUMING], app[RUN_WORKER]):
        yield


async def _check_runs(app: web.Application) -> str | None:
    return "the run worker has ended" if app[RUN_WORKER].done() else None
