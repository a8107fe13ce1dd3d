"""Services and loads as real processes: quick to start, measured from outside, ended for certain.

A fork server that has imported everything once makes a service in a tenth of its usual time.
"""

import asyncio
import importlib
import json
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from services.settings import Settings, environment_name
from tests.servers import plain

HOUSES = ("ingest", "metrics", "billing")
PATIENCE_SECONDS = 120.0  # where nothing is promised: a machine that others share may be slow
HELD_SECONDS = 20.0
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["pytest", "tests.overload.wire", *(f"services.{house}.__main__" for house in HOUSES)]
)


@dataclass
class Service:
    """A service that runs as a process."""

    house: str
    process: ForkServerProcess
    log: Path
    port: int
    ops_port: int

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what it has logged under a name."""
        lines = self.log.read_text().splitlines()
        return [line for line in map(_parse, lines) if line.get("event") == name]

    def memory_bytes(self) -> int:
        """Say what it holds in memory now."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def memory_peak_bytes(self) -> int:
        """Say what it held at most."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])

    def connections(self) -> list[Any]:
        """List its connections."""
        found: list[Any] = psutil.Process(self.pid).net_connections("tcp")
        return found

    async def until_held(self, count: int) -> None:
        """Wait until so many connections to it are open. Raises TimeoutError."""
        async with asyncio.timeout(HELD_SECONDS):
            while len([one for one in self.connections() if self._is_held(one)]) < count:  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.05)

    def _is_held(self, one: Any) -> bool:
        return bool(one.status == "ESTABLISHED" and one.laddr.port == self.port)

    async def answers(self, count: int, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until it has answered so many requests."""
        until = time.monotonic() + seconds
        while (found := len(self.events("request_served"))) < count:
            if time.monotonic() > until:
                raise AssertionError(
                    f"{self.house} answered {found} requests in {seconds} s: "
                    f"{self.log.read_text()[-3000:]}"
                )
            await asyncio.sleep(0.02)

    def stop(self) -> tuple[int | None, float]:
        """Tell it to stop; say how it ended and how many seconds that took. None: it did not."""
        started = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        self.process.join(20)
        return self.process.exitcode, time.monotonic() - started

    async def ready(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until it says that it is ready."""
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as client:
            url = f"http://127.0.0.1:{self.ops_port}/readyz"
            while True:
                async with client.get(url) as response:
                    if response.status == 200:
                        return
                await asyncio.sleep(0.05)


def _parse(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _serve(house: str, environment: dict[str, str], log: str, files: int) -> None:
    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    os.environ.clear()
    os.environ.update(environment)
    words = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(words, number)
    importlib.import_module(f"services.{house}.__main__").main()


def _environment(settings: Settings) -> dict[str, str]:
    """Name every setting, so that the service reads what the test meant and nothing else."""
    named = {environment_name(field): str(value) for field, value in plain(settings).items()}
    return named | {"PATH": os.environ["PATH"], "TURNSHEET_LOG_FORMAT": "json"}


@contextmanager
def service(house: str, settings: Settings, log: Path, *, files: int = 0) -> Iterator[Service]:
    """Run a service for the length of a block; it has begun to listen when that begins.

    `files`: how many it may open, when that is to be few.
    """
    log.unlink(missing_ok=True)
    given = (house, _environment(settings), str(log), files)
    process = _FORKS.Process(target=_serve, args=given)
    process.start()
    try:
        port, ops_port = _await_ports(process, log)
        yield Service(house, process, log, port, ops_port)
    finally:
        if process.is_alive():
            process.terminate()
            process.join(12)
        if process.is_alive():
            process.kill()
            process.join(5)
        process.close()


def _await_ports(process: ForkServerProcess, log: Path) -> tuple[int, int]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if not process.is_alive():
            break
        for line in log.read_text().splitlines() if log.exists() else ():
            if (told := _parse(line)).get("event") == "service_started":
                return told["port"], told["ops_port"]
        time.sleep(0.02)
    raise RuntimeError(f"the service did not start: {log.read_text()[-2000:]}")


@asynccontextmanager
async def loads(
    count: int, *, nice: int = 0
) -> AsyncIterator[Callable[..., "asyncio.Future[Any]"]]:
    """Give a way to call functions in processes of their own, at most `count` at a time.

    With `nice` they give way to all others, as clients on a machine of their own would.
    """
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(count, _FORKS, initializer=os.nice, initargs=(nice,)) as pool:
        yield lambda function, *arguments: loop.run_in_executor(pool, function, *arguments)
