"""Ingest's parts, made and put together: the door's application and its health."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aiohttp import web

from services.consuming import consume
from services.ingest import store
from services.ingest.api import (
    LARGE,
    LARGE_FILE,
    PLACEMENTS,
    PLANNER,
    PRODUCER,
    ROUTES,
    SETTINGS,
    SPLITTER,
    WRITER_POOL,
)
from services.ingest.consumer import READING
from services.kafka import READY_TOPIC
from services.log_health import Health
from services.postgres import close_pool, open_pool
from services.producer import OutcomeUnknown, Overloaded, Producer, Record
from services.settings import Settings
from services.web.http import LOOKS_MAX, check_postgres, make_app, make_ops_app
from services.web.serving import Check, beside
from services.web.shared_reads import SharedRead

HEALTH = web.AppKey("health", Health)
CONSUMING = web.AppKey("consuming", asyncio.Task[None])
READY_SECONDS = 2.0
SHARED_SECONDS = 1.0  # each probe of the log leaves a record there


def build_app(settings: Settings) -> web.Application:
    """Put the door together: pools, producer, and the copy of the directory behind it."""
    app = make_app("ingest", ROUTES, settings)
    app[SETTINGS] = settings
    app[HEALTH] = Health()
    app.cleanup_ctx.extend([_splitter, _writer_pools, _producer, _directory])
    return app


def build_ops(app: web.Application) -> web.Application:
    """Put the health of a built door together."""
    checks: dict[str, Check] = {
        "postgres": lambda: check_postgres(app),
        "kafka": _shared(lambda: _check_kafka(app)),
        "directory": lambda: _check_directory(app),
    }
    return make_ops_app(checks)


async def _splitter(app: web.Application) -> AsyncIterator[None]:
    app[LARGE], app[LARGE_FILE] = asyncio.Lock(), asyncio.Lock()
    # One thread each: every thread keeps memory of its own.
    app[SPLITTER], app[PLANNER] = (
        ThreadPoolExecutor(1, "splitter"),
        ThreadPoolExecutor(1, "planner"),
    )
    yield
    for threads in (app[SPLITTER], app[PLANNER]):
        threads.shutdown(wait=False, cancel_futures=True)


async def _writer_pools(app: web.Application) -> AsyncIterator[None]:
    app[WRITER_POOL] = await open_pool(app[SETTINGS], "ingest", "writer", size=4)
    looks = await open_pool(app[SETTINGS], "ingest", "writer", size=LOOKS_MAX, looks=True)
    app[PLACEMENTS] = SharedRead(partial(store.load_firms_of_placements, looks))
    yield
    await asyncio.gather(close_pool(app[WRITER_POOL]), close_pool(looks))


async def _producer(app: web.Application) -> AsyncIterator[None]:
    async with Producer(app[SETTINGS]) as producer:
        app[PRODUCER] = producer
        yield


async def _directory(app: web.Application) -> AsyncIterator[None]:
    async with beside(app, partial(consume, app[SETTINGS], READING, health=app[HEALTH])) as (
        app[CONSUMING],
    ):
        yield


def _shared(check: Check) -> Check:
    """Have a check asked once for many: when it was well a moment ago, and while it is asked."""
    asking: asyncio.Task[str | None] | None = None
    well_until = 0.0

    async def look() -> str | None:
        nonlocal well_until
        reason = await check()
        if reason is None:
            well_until = asyncio.get_running_loop().time() + SHARED_SECONDS
        return reason

    async def ask() -> str | None:
        nonlocal asking
        if asyncio.get_running_loop().time() < well_until:
            return None
        if asking is None or asking.done():
            asking = asyncio.create_task(look())
        return await asyncio.shield(asking)  # whoever gives up leaves it to the others

    return ask


async def _check_kafka(app: web.Application) -> str | None:
    topic = app[SETTINGS].topic(READY_TOPIC)
    try:
        await app[PRODUCER].produce(topic, [Record(b"ready", b"ready", [])], READY_SECONDS)
    except Overloaded:  # busy, not broken: what waits shows soon whether the log confirms
        return None
    except OutcomeUnknown:
        return "the log does not confirm"
    return None


async def _check_directory(app: web.Application) -> str | None:
    """Say what keeps the copy of the directory from being read; one that lags serves the door."""
    return "its consumer has ended" if app[CONSUMING].done() else app[HEALTH].alarm()
