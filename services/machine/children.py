"""The three services as processes: started, asked whether they are ready, stopped, found again."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from pydantic import SecretStr

from services.machine.log_files import turn
from services.settings import (
    Settings,
    environment_name,
    private_folder,
    without_login,
    write_private,
)

SERVICES: Final = ("ingest", "metrics", "billing")
CHILDREN: Final = "services.json"
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 6.0
KILL_SECONDS: Final = 2.0
PROBE_SECONDS: Final = 4.0  # longer than a service waits for its own checks
QUOTED_MAX: Final = 300
# The services are on this machine: the proxy that the environment names does not know them.
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServiceFailed(Exception):
    """A service ended or did not become ready; the message names its log."""


@dataclass(frozen=True)
class Child:
    """A service that runs as a process of ours; its words go straight to its log."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def ended(self) -> bool:
        """Say whether the process is over."""
        return self.process.poll() is not None


def start_child(name: str, settings: Settings) -> Child:
    """Start a service; what it is told stands in its environment, secrets in the data folder."""
    log = private_folder(settings.home / "logs") / f"{name}.log"
    turn(log)
    with log.open("ab") as words:
        process = subprocess.Popen(  # noqa: S603 (our own program and arguments)
            [sys.executable, "-m", f"services.{name}"],
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            start_new_session=True,  # the terminal's Ctrl-C is for the owner alone
            env=child_environment(settings, os.environ),
        )
    return Child(name, process, log)


def child_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Name every setting to a service, so that it reads what its owner meant and nothing else.

    The database's address goes without the owner's password: a service logs in by its own roles.
    """
    names = {environment_name(field) for field in Settings.model_fields}
    kept = {name: value for name, value in environment.items() if name not in names}
    for field in Settings.model_fields:
        value = getattr(settings, field)
        if not isinstance(value, SecretStr):
            kept[environment_name(field)] = str(value)
    kept[environment_name("database_url")] = without_login(settings.database_url)
    return kept


def note_children(home: Path, children: Iterable[Child]) -> None:
    """Write down which processes are ours, for whoever comes after a kill."""
    write_private(home / CHILDREN, {child.name: child.process.pid for child in children})


def find_orphans(home: Path) -> list[psutil.Process]:
    """Find services that a killed owner left behind: they hold our ports and partitions.

    A process counts only when it runs that service out of this data folder.
    """
    try:
        noted: dict[str, int] = json.loads((home / CHILDREN).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    found = []
    for name, pid in noted.items():
        try:
            process = psutil.Process(pid)
            ours = f"services.{name}" in process.cmdline()
            ours = ours and process.environ().get(environment_name("home")) == str(home.absolute())
        except psutil.Error:
            continue
        if ours:
            found.append(process)
    return found


def end_orphans(home: Path) -> int:
    """Kill what `find_orphans` finds and say how many; a service may be killed at any moment."""
    orphans = find_orphans(home)
    for process in orphans:
        process.kill()
    psutil.wait_procs(orphans, KILL_SECONDS)
    (home / CHILDREN).unlink(missing_ok=True)
    return len(orphans)


def stop_children(children: Iterable[Child]) -> None:
    """Ask all to stop at once; what has not after some seconds is killed."""
    running = [child for child in children if not child.ended]
    for child in running:
        child.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for child in running:
        try:
            child.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait(KILL_SECONDS)


def await_ready(child: Child, settings: Settings, checkpoint: Callable[[], None]) -> None:
    """Return when a service says that it is ready. Raises `ServiceFailed`.

    `checkpoint` is called often and may raise to give up.
    """
    deadline = time.monotonic() + READY_SECONDS
    while (answer := probe(f"{settings.ops_url(child.name)}/readyz")) != "ready":
        checkpoint()
        if child.ended:
            raise ServiceFailed(
                f"{child.name} ended at its start with code {child.process.returncode}"
                f"{last_words(child.log)}"
            )
        if time.monotonic() > deadline:
            raise ServiceFailed(f"{child.name} is not ready: {answer}{last_words(child.log)}")
        time.sleep(0.1)


def last_words(log: Path) -> str:
    """Quote what a log says last, shortened, and name the log."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    try:
        event = json.loads(last)
        facts = [event["event"], *(event[key] for key in ("words", "error") if key in event)]
        last = " ".join(map(str, facts))
    except (ValueError, KeyError, TypeError):
        pass  # no event of ours: a line of a server, or the end of a traceback
    return f": {last[:QUOTED_MAX]}; see {log}" if last else f"; see {log}"


def probe_services(settings: Settings) -> dict[str, str]:
    """Ask all services at once whether they are ready; see `probe`."""
    urls = [f"{settings.ops_url(name)}/readyz" for name in SERVICES]
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        return dict(zip(SERVICES, pool.map(probe, urls), strict=True))


def probe(url: str, seconds: float = PROBE_SECONDS) -> str:
    """Ask a service whether it is ready: "ready", or why not in a few words."""
    try:
        with _DIRECT.open(url, timeout=seconds) as response:
            json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return _reasons(error)
    except (OSError, ValueError):
        return "no answer"
    return "ready"


def _reasons(error: urllib.error.HTTPError) -> str:
    try:
        checks = json.load(error)["checks"]
    except (ValueError, KeyError):
        return f"status {error.code}"
    waiting = [f"{name}: {check['reason']}" for name, check in checks.items() if not check["ready"]]
    return ", ".join(waiting) or f"status {error.code}"
