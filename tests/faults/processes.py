"""Processes of a world: made by the fork server, killed, stopped, continued and restarted."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from services.settings import Settings
from tests.faults.failpoints import ROOT, Deed
from tests.servers import plain

START_SECONDS = 60


@dataclass
class Process:
    """A running service. `stopped` is set while it stands still, `ended` has its exit code."""

    server: "ForkServer"
    pid: int
    ended: "asyncio.Future[int]"
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    asked: bool = False  # to stop

    def send(self, number: signal.Signals) -> None:
        """Send a signal; to one that has ended it goes nowhere."""
        if number == signal.SIGCONT:
            self.stopped.clear()
        self.server.write(pid=self.pid, signal=int(number))

    async def finish(self, seconds: float) -> int:
        """Ask it to stop and return its exit code. Raises TimeoutError."""
        self.asked = True
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)
        async with asyncio.timeout(seconds):
            return await asyncio.shield(self.ended)


class ForkServer:
    """The driver's end of the fork server."""

    def __init__(self, program: asyncio.subprocess.Process) -> None:
        self._program = program
        self._requests = count(1)
        self._made: dict[int, asyncio.Future[Process]] = {}
        self._living: dict[int, Process] = {}

    def write(self, **words: Any) -> None:
        """Tell the server one thing."""
        assert self._program.stdin is not None
        self._program.stdin.write(json.dumps(words).encode() + b"\n")

    async def start(
        self, role: str, settings: Settings, folder: Path, deeds: Sequence[Deed] = ()
    ) -> Process:
        """Start a service, or a `worker`; its words and counts go to files in `folder`."""
        number = next(self._requests)
        made: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        self._made[number] = made
        self.write(
            request=number,
            role=role.partition("-")[0],
            settings=plain(settings),
            words=str(folder / f"{role}.log"),
            counts=str(folder / f"{role}-{number}.counts"),
            deeds=[list(deed) for deed in deeds],
        )
        return await made

    async def listen(self) -> None:
        """Hear what the server tells, until it is gone; then everything it made is."""
        assert self._program.stdout is not None
        async for line in self._program.stdout:
            told = json.loads(line)
            if "request" in told:
                process = Process(self, told["pid"], asyncio.get_running_loop().create_future())
                self._living[process.pid] = process
                self._made.pop(told["request"]).set_result(process)
            elif "stopped" in told:
                self._living[told["pid"]].stopped.set()
            elif "ended" in told:
                self._living.pop(told["pid"]).ended.set_result(told["ended"])


@asynccontextmanager
async def fork_server() -> AsyncIterator[ForkServer]:
    """Run the fork server for the length of a block; nothing that it made outlives it."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.forking",
        cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert program.stdin is not None
    assert program.stdout is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            assert json.loads(await program.stdout.readline()) == {"ready": True}
        server = ForkServer(program)
        listening = asyncio.create_task(server.listen())
        yield server
        program.stdin.close()
        await listening
    finally:
        program.stdin.close()
        await program.wait()
