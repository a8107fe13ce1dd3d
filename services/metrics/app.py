"""Metrics' parts, made and put together: consumer, API and health."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from aiohttp import web

from services.consuming import check_consuming, consume
from services.log_health import Health
from services.metrics.api import ROUTES
from services.metrics.consumer import READING
from services.settings import Settings
from services.web.http import check_postgres, make_app, make_ops_app
from services.web.serving import Check, beside

SETTINGS: Final = web.AppKey("settings", Settings)
HEALTH: Final = web.AppKey("health", Health)
CONSUMING: Final = web.AppKey[asyncio.Task[None]]("consuming")


def build_app(settings: Settings) -> web.Application:
    """Put metrics together."""
    app = make_app("metrics", ROUTES, settings)
    app[SETTINGS] = settings
    app[HEALTH] = Health()
    app.cleanup_ctx.append(_consuming)
    return app


def build_ops(app: web.Application) -> web.Application:
    """Put the health of a built app together."""
    checks: dict[str, Check] = {
        "postgres": lambda: check_postgres(app),
        "log": lambda: check_consuming(app[CONSUMING], app[HEALTH]),
    }
    return make_ops_app(checks)


async def _consuming(app: web.Application) -> AsyncIterator[None]:
    async with beside(app, partial(consume, app[SETTINGS], READING, health=app[HEALTH])) as (
        app[CONSUMING],
    ):
        yield
