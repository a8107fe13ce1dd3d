"""The ground of a run: a Postgres and a Kafka of its own, and processes whose work is measured."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from services.machine.children import await_ready, start_child
from services.machine.embedded_kafka import new_kafka
from services.migrations import migrate
from services.settings import CHOSEN, Settings, write_private
from tests.servers import own_port, postgres_in, prepare, stop, with_ports

ROOT = Path(__file__).parent.parent.parent
PEERS = Path(__file__).parent / "peers"
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
START_SECONDS = 30

Say = Callable[[str], None]


@dataclass
class Ground:
    """What every row of a run stands on; `say` prints a line of progress."""

    settings: Settings
    folder: Path
    rounds: int
    quick: bool
    say: Say
    long: bool = False
    peers: Path = PEERS_PYTHON
    absent: list[str] = field(default_factory=list)

    def topic(self, name: str) -> str:
        """Return a topic's full name."""
        return self.settings.topic(name)


class Process:
    """A process whose CPU seconds are counted, listening on `port`."""

    def __init__(self, name: str, popen: "subprocess.Popen[bytes]", port: int) -> None:
        self.name = name
        self.port = port
        self.popen = popen
        self._known = psutil.Process(popen.pid)

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of the process and its threads since it began."""
        if sys.platform == "linux":  # the process's own clock: psutil's ticks are 10 ms long
            return time.clock_gettime((~self.popen.pid << 3) | 2)
        spent = self._known.cpu_times()
        return float(spent.user + spent.system)

    def check_alive(self) -> None:
        """Raise RuntimeError when the process has ended: nothing more is to be waited for."""
        if (code := self.popen.poll()) is not None:
            raise RuntimeError(f"{self.name} has ended with code {code}")

    def stop(self) -> None:
        """End the process; it has nothing that could be lost."""
        self.popen.terminate()
        try:
            self.popen.wait(10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait(5)


@contextmanager
def servers(**given: Any) -> Iterator[Settings]:
    """Start a Postgres and a Kafka with the settings of real use, fsync on, and stop them after.

    They and all that is started beside them end with this process, whoever kills it.
    """
    folder = prepare()
    postgres = postgres_in(folder / "postgres")
    kafka = new_kafka(folder / "kafka", own_port(), own_port())
    try:
        with ThreadPoolExecutor() as pool:
            for started in [pool.submit(postgres.start), pool.submit(kafka.start)]:
                started.result()
        settings = with_ports(
            Settings(
                database_url=postgres.url,
                kafka_bootstrap_servers=kafka.bootstrap_servers,
                home=folder / "home",
                database_role_password="role-password-of-the-bench",
                token_pepper="pepper-of-the-bench",
                **given,
            )
        )
        migrate(settings)
        yield settings
    finally:
        stop(folder)


@contextmanager
def house(name: str, settings: Settings) -> Iterator[Process]:
    """Run one of our services as it always runs: with its logs, counters and health."""
    secrets = ("token_pepper", "database_role_password")
    write_private(
        settings.home / CHOSEN,
        {secret: getattr(settings, secret).get_secret_value() for secret in secrets},
    )
    child = start_child(name, settings)
    process = Process(f"turnsheet {name}", child.process, getattr(settings, f"{name}_port"))
    try:
        await_ready(child, settings, lambda: None)
        yield process
    finally:
        process.stop()


@contextmanager
def program(
    name: str, arguments: Sequence[str], python: Path = Path(sys.executable)
) -> Iterator[Process]:
    """Run a program that takes `--port` and wait until it listens."""
    port = own_port()
    with tempfile.TemporaryFile() as log:
        popen = subprocess.Popen(
            [str(python), *arguments, "--port", str(port)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        process = Process(name, popen, port)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not listens(port):
                if popen.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{name} does not listen: {log.read()[-2000:].decode()}")
                time.sleep(0.05)
            yield process
        finally:
            process.stop()


def listens(port: int) -> bool:
    """Say whether somebody listens on a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def all_of(*managers: Any) -> Iterator[list[Any]]:
    """Enter several contexts, and leave them in turn."""
    with ExitStack() as stack:
        yield [stack.enter_context(manager) for manager in managers]
