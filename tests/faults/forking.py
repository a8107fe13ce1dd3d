"""The fork server: services imported once, their failpoints armed; then a process in milliseconds.

A program of its own. It reads requests as lines of JSON and tells, likewise, which process it has
made, which stands still and which has ended. When its driver is gone, so are its processes.
"""

import asyncio
import contextlib
import gc
import json
import os
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from tests.faults import failpoints

READ_BYTES = 65_536


def serve() -> None:
    """Serve until the driver closes its end."""
    failpoints.install()
    _import_services()
    gc.freeze()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    living: set[int] = set()
    tell(ready=True)
    rest = b""
    while True:
        readable, _, _ = select.select([0, woken], [], [])
        if woken in readable:
            os.read(woken, READ_BYTES)
            _reap(living)
        if 0 in readable:
            read = os.read(0, READ_BYTES)
            if not read:
                break
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                _obey(json.loads(line), living)
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def tell(**words: Any) -> None:
    """Tell the driver one thing."""
    os.write(1, json.dumps(words).encode() + b"\n")


def _import_services() -> None:
    import services.billing.app
    import services.ingest.app
    import services.metrics.app  # noqa: F401 (so that no process has to import them)


def _obey(request: dict[str, Any], living: set[int]) -> None:
    """Make a process, or send it a signal while it has not been reaped: its id is its own."""
    if "signal" in request:
        if request["pid"] in living:
            os.kill(request["pid"], request["signal"])
        return
    pid = os.fork()
    if pid == 0:
        _become(request)
    living.add(pid)
    tell(request=request["request"], pid=pid)


def _reap(living: set[int]) -> None:
    """Tell of every process that has ended or was stopped."""
    for pid in list(living):
        found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if found == 0:
            continue
        if os.WIFSTOPPED(status):
            tell(pid=pid, stopped=True)
        else:
            living.discard(pid)
            tell(pid=pid, ended=os.waitstatus_to_exitcode(status))


def _become(request: dict[str, Any]) -> None:
    """Be a service, and leave with the code that its own program would have left with."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        words = os.open(request["words"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (words, 1), (words, 2)):
            os.dup2(source, target)
        failpoints.begin(
            Path(request["counts"]), [failpoints.Deed(*deed) for deed in request["deeds"]]
        )
        _be(request["role"], request["settings"])
        code = 0
    except BaseException:  # noqa: BLE001 (a process ends here, whatever it met)
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def _be(role: str, values: dict[str, Any]) -> None:
    from importlib import import_module

    from services.settings import Settings
    from services.web.http import run_service

    settings = Settings(**values)
    if role == "worker":
        asyncio.run(_draft(settings))
        return
    house: Any = role
    parts = import_module(f"services.{role}.app")
    app = parts.build_app(settings)
    run_service(house, app, parts.build_ops(app), settings)


async def _draft(settings: Any) -> None:
    """Be a run worker and nothing else."""
    from services.billing.jobs import work
    from services.logs import set_up_logs

    set_up_logs("json", "billing")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await work(settings, stop)


if __name__ == "__main__":
    serve()
