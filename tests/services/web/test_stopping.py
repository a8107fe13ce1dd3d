"""A stop ends what was begun: at once what goes on beside, in time what would never end."""

import asyncio
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import pytest
from structlog.testing import capture_logs

from services.web.deadlines import Limits
from services.web.http import Route, json_response, make_app, make_ops_app
from services.web.serving import BESIDE_SECONDS, beside, serve


class Held:
    """A request that ends when it is let go."""

    def __init__(self):
        self.entered, self.let_go = asyncio.Event(), asyncio.Event()
        self.routes = [Route("GET", "/v1/held", self.answer, None, "Wait")]

    async def answer(self, request):
        self.entered.set()
        await self.let_go.wait()
        return json_response(request, {"done": True})


@asynccontextmanager
async def serving(settings, *contexts, routes=(), limits=None):
    """Serve for the length of a block; give the port, the stop, and the task that ends with it."""
    stop, ports = asyncio.Event(), asyncio.get_running_loop().create_future()
    limits = limits or Limits()
    app = make_app("metrics", list(routes), settings, limits)
    app.cleanup_ctx.extend(contexts)
    task = asyncio.create_task(
        serve(
            "metrics", app, make_ops_app({}), host="127.0.0.1", port=0, ops_port=0, stop=stop,
            limits=limits, started=lambda *found: ports.set_result(found),
        )
    )  # fmt: skip
    await ports
    yield ports.result()[0], stop, task
    stop.set()
    await task


async def test_what_goes_on_beside_is_told_to_stop_while_a_request_still_ends(settings):
    held, told = Held(), asyncio.Event()

    async def go_on(stop):
        await stop.wait()
        told.set()

    async def context(app):
        async with beside(app, go_on):
            yield

    async with serving(settings, context, routes=held.routes) as (port, stop, task):
        async with aiohttp.ClientSession() as client:
            asking = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/v1/held"))
            await held.entered.wait()
            stop.set()
            async with asyncio.timeout(BESIDE_SECONDS):
                await told.wait()
            assert not asking.done()
            held.let_go.set()
            assert (await asking).status == 200
        await asyncio.wait_for(task, BESIDE_SECONDS)


async def test_what_goes_on_beside_and_fails_is_told_at_once(settings):
    failed = asyncio.Event()

    async def fail(_):
        failed.set()
        raise ZeroDivisionError

    async def context(app):
        async with beside(app, fail):
            yield

    with capture_logs() as logs:
        async with serving(settings, context):
            await failed.wait()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert [line["event"] for line in logs if "exc_info" in line] == ["work_ended"]


@pytest.mark.parametrize("drain_seconds", [1.0, 2.0])
async def test_what_does_not_end_is_cut_off_in_time_and_told(settings, drain_seconds):
    never = asyncio.Event()

    async def context(app):
        yield
        await never.wait()

    with capture_logs() as logs:
        limits = Limits(drain_seconds=drain_seconds)
        async with serving(settings, context, limits=limits) as (_, stop, task):
            started = time.monotonic()
            stop.set()
            await task
    assert time.monotonic() - started < drain_seconds
    assert "service_cut_off" in [line["event"] for line in logs]


async def test_what_fails_at_the_end_is_raised(settings):
    async def context(app, error):
        yield
        raise error

    with pytest.raises(TimeoutError, match="not ours"):
        async with serving(settings, partial(context, error=TimeoutError("not ours"))):
            pass


STUBBORN = """
import asyncio, time
from services.settings import load
from services.web.http import make_app, make_ops_app, run_service

async def cling():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def compute():
    await asyncio.to_thread(time.sleep, 60)

async def context(app):
    app["clinging"] = asyncio.create_task(WHAT())
    await asyncio.sleep(0)
    yield

app = make_app("metrics", [], load())
app.cleanup_ctx.append(context)
run_service("metrics", app, make_ops_app({}), load())
"""


@pytest.mark.parametrize("what", ["cling", "compute"])
async def test_what_does_not_heed_its_cancelling_keeps_no_process(settings, what):
    known = {
        "DATABASE_URL": settings.database_url, "TURNSHEET_HOME": str(settings.home),
        "TURNSHEET_TOKEN_PEPPER": "-", "TURNSHEET_METRICS_PORT": "0",
        "TURNSHEET_METRICS_OPS_PORT": "0", "TURNSHEET_LOG_FORMAT": "json",
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STUBBORN.replace("WHAT", what),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": "."} | known,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    async for line in process.stdout:
        if b"service_started" in line:
            break
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        told = await process.stdout.read()
        assert await process.wait() == 0
    assert b"service_cut_off" in told
