"""Running a service: two ports, readiness by real checks, and a stop that ends what was begun."""

import asyncio
import gc
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.logs import set_up_logs
from services.postgres import House
from services.settings import Settings
from services.web.deadlines import GuardedSite, Limits

Check = Callable[[], Awaitable[str | None]]
CHECK_SECONDS: Final = 3.0
OPS_CONNECTIONS: Final = 64
FILES_RESERVED: Final = 256  # the health port, the pools, Kafka's connections, logs
BESIDE_SECONDS: Final = 6.0
# Of the seconds that a stop may take: for answers under way, and for all; the process ends then.
DRAIN_SHARE: Final = 0.35
CLEAN_SHARE: Final = 0.85
LEAVE_SECONDS: Final = 0.5  # for what was cancelled
# A thread that computes gives the loop its turn: a request waits for a dozen of them.
SWITCH_SECONDS: Final = 0.0005
THREADS: Final = "work"  # what the names of our threads begin with
# Set when a service is told to stop: what goes on beside its requests stops while these end.
STOPPING: Final = web.AppKey("stopping", asyncio.Event)
log = structlog.get_logger()


def make_ops_app(checks: Mapping[str, Check], *, seconds: float = CHECK_SECONDS) -> web.Application:
    """Make /livez, /readyz and /metrics.

    A check returns None when its part is ready, else why not in a word; an exception, or none in
    `seconds`, means not ready too.
    """

    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def readyz(_: web.Request) -> web.Response:
        found = await asyncio.gather(*(_ask(check, seconds) for check in checks.values()))
        ready = all(reason is None for reason, _ in found)
        body = {
            "ready": ready,
            "checks": {
                name: {"ready": reason is None, "seconds": round(took, 4)}
                | ({} if reason is None else {"reason": reason})
                for name, (reason, took) in zip(checks, found, strict=True)
            },
        }
        return web.json_response(body, status=200 if ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app


@asynccontextmanager
async def beside(
    app: web.Application, *work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]
) -> AsyncIterator[tuple[asyncio.Task[None], ...]]:
    """Have work done beside an application for the length of a block.

    Each is told to stop as soon as the service is, and cut off when it takes too long.
    """
    stop = app[STOPPING]
    tasks = tuple(asyncio.create_task(begin(stop)) for begin in work)
    for task in tasks:
        task.add_done_callback(_tell_ended)
    yield tasks
    stop.set()
    await asyncio.wait(tasks, timeout=BESIDE_SECONDS)
    for task in tasks:
        task.cancel()


def _tell_ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("work_ended", exc_info=error)


async def _ask(check: Check, seconds: float) -> tuple[str | None, float]:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(seconds):
            reason = await check()
    except TimeoutError:
        reason = "no answer in time"
    except Exception as error:  # noqa: BLE001 (whatever a check raises, the part is not ready)
        reason = type(error).__name__
    return reason, time.perf_counter() - started


def run_service(
    service: House, app: web.Application, ops: web.Application, settings: Settings
) -> None:
    """Serve both ports until SIGTERM or SIGINT, end what was begun, and return.

    Stops within ten seconds, if need be by cutting off what does not end. Raises what the start
    of the application raised.
    """
    set_up_logs(settings.log_format, service, settings.log_level)
    # What the imports made lives for ever, and bursts of small values are not garbage: seen to
    # more than double the speed of decoding large batches.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    sys.setswitchinterval(SWITCH_SECONDS)
    asyncio.run(_run(service, app, ops, settings))


async def _run(
    service: House, app: web.Application, ops: web.Application, settings: Settings
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    threads = ThreadPoolExecutor(thread_name_prefix=THREADS)
    loop.set_default_executor(threads)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(
        service,
        app,
        ops,
        host=settings.host,
        port=getattr(settings, f"{service}_port"),
        ops_port=getattr(settings, f"{service}_ops_port"),
        stop=stop,
        limits=fit_files(Limits()),
    )
    await _leave(service, threads)


async def _leave(service: str, threads: ThreadPoolExecutor) -> None:
    """End what was cancelled and does not end, in a task or a thread: it would be waited for.

    All that is kept is in Postgres and Kafka, so a process may end at any moment.
    """
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    loop = asyncio.get_running_loop()
    until = loop.time() + LEAVE_SECONDS
    is_late = bool(left) and bool((await asyncio.wait(left, timeout=LEAVE_SECONDS))[1])
    threads.shutdown(wait=False, cancel_futures=True)
    while not is_late and any(t.name.startswith(THREADS) for t in threading.enumerate()):
        await asyncio.sleep(LEAVE_SECONDS / 20)
        is_late = loop.time() > until
    if is_late:
        log.error("service_cut_off", service=service, seconds=LEAVE_SECONDS)
        sys.stdout.flush()
        os._exit(0)


def fit_files(limits: Limits) -> Limits:
    """Let this process open the files that its connections need, as far as the system allows."""
    wanted = limits.connections + FILES_RESERVED
    files, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < wanted:
        files = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    if files == resource.RLIM_INFINITY or files >= wanted:
        return limits
    held = max(files - FILES_RESERVED, OPS_CONNECTIONS)
    log.warning(
        "files_too_few",
        words=f"{files} open files allow {held} connections instead of {limits.connections}: "
        f"raise the limit (ulimit -Hn) to {wanted}",
    )
    return replace(limits, connections=held)


async def serve(
    service: str,
    app: web.Application,
    ops: web.Application,
    *,
    host: str,
    port: int,
    ops_port: int,
    stop: asyncio.Event,
    limits: Limits | None = None,
    started: Callable[[int, int], None] | None = None,
) -> None:
    """Serve until `stop` is set; `started` is told both ports once they listen."""
    limits = limits or Limits()
    # aiohttp waits this long for answers to be finished, and as long again for what it cancels.
    patience = limits.drain_seconds * DRAIN_SHARE
    runners = [
        web.AppRunner(one, handle_signals=False, shutdown_timeout=patience) for one in (ops, app)
    ]
    ops_runner, app_runner = runners
    try:
        await ops_runner.setup()
        few = replace(limits, connections=min(limits.connections, OPS_CONNECTIONS))
        ops_site = GuardedSite(ops_runner, host, ops_port, few)
        await ops_site.start()
        if not await _unless_stopped(app_runner.setup(), stop):
            return
        site = GuardedSite(app_runner, host, port, limits)
        await site.start()
        log.info("service_started", service=service, port=site.port, ops_port=ops_site.port)
        if started is not None:
            started(site.port, ops_site.port)
        await stop.wait()
        log.info("service_stopping", service=service)
    finally:
        await _clean_up(service, runners[::-1], limits.drain_seconds * CLEAN_SHARE)
    log.info("service_stopped", service=service)


async def _clean_up(service: str, runners: Sequence[web.AppRunner], seconds: float) -> None:
    """End what was begun, in so many seconds: what takes longer would be killed, and may be."""
    budget = asyncio.timeout(seconds)
    try:
        async with budget:
            for runner in runners:
                await runner.cleanup()
    except TimeoutError:
        if not budget.expired():
            raise
        log.exception("service_cut_off", service=service, seconds=seconds)
    finally:
        for site in [site for runner in runners for site in runner.sites]:
            await site.stop()


async def _unless_stopped(start: Awaitable[None], stop: asyncio.Event) -> bool:
    """Wait for a start, or give it up when told to stop first; say whether it was reached."""
    starting = asyncio.ensure_future(start)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            return True
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return False
    finally:
        stopping.cancel()
