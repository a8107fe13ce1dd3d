"""One installation on this machine: its data folder, its owner, its servers and its services."""

import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import psutil

from services.embedded_kafka import EmbeddedKafka, new_kafka
from services.embedded_postgres import EmbeddedPostgres, new_postgres, place
from services.ports import choose_port
from services.settings import CHOSEN, Settings, environment_name, load, read_chosen, write_private

SERVICES: Final = ("ingest", "metrics", "billing")
PORTS: Final = tuple(f"{name}{kind}_port" for name in SERVICES for kind in ("", "_ops"))
OWNER: Final = "owner.json"
CHILDREN: Final = "services.json"
READY_SECONDS: Final = 45.0
STOP_SECONDS: Final = 8.0

Say = Callable[[str], None]


class AlreadyOwned(Exception):
    """Another process runs this installation; the message says which and since when."""


class ServiceFailed(Exception):
    """A service ended or did not become ready; the message names its log."""


@dataclass
class Service:
    """A running service and the thread that copies its words."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path
    copier: threading.Thread


@dataclass
class Installation:
    """What runs here, from its start to its stop."""

    settings: Settings
    postgres: EmbeddedPostgres | None = None
    kafka: EmbeddedKafka | None = None
    services: list[Service] = field(default_factory=list)


def owner_of(home: Path) -> dict[str, Any] | None:
    """Return who runs an installation: `pid` and `since`; None when nobody does."""
    try:
        owner: dict[str, Any] = json.loads((home / OWNER).read_text())
        process = psutil.Process(owner["pid"])
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
    same = abs(process.create_time() - owner["started"]) < 1
    return owner if same and process.status() != psutil.STATUS_ZOMBIE else None


@contextmanager
def owned(home: Path) -> Iterator[None]:
    """Be the one owner of a data folder for the length of a block. Raises `AlreadyOwned`.

    The lock is the kernel's: it ends with the process, however that ends.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = owner_of(home) or {"pid": "?", "since": "?"}
            raise AlreadyOwned(
                f"process {owner['pid']} has run {home} since {owner['since']}: "
                "`turnsheet status` shows it, `turnsheet down` stops it"
            ) from None
        me = psutil.Process()
        since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        owner = {"pid": me.pid, "started": me.create_time(), "since": since}
        write_private(home / OWNER, owner)
        try:
            yield
        finally:
            (home / OWNER).unlink(missing_ok=True)


def start_servers(home: Path, say: Say) -> Installation:
    """Start Postgres and Kafka, unless the environment names others, and choose what is free.

    What was chosen, secrets included, is remembered in the data folder. Raises `PostgresFailed`,
    `KafkaFailed`, `JarsUnavailable`.
    """
    home.chmod(0o711)  # Postgres may run as another user; what is private has its own mode
    chosen = read_chosen(home)
    installation = Installation(load())
    if not os.environ.get("DATABASE_URL"):
        installation.postgres = _postgres(home, chosen, say)
        chosen["database_url"] = installation.postgres.url
    if not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        installation.kafka = _kafka(home, chosen, say)
        chosen["kafka_bootstrap_servers"] = installation.kafka.bootstrap_servers
    taken: set[int] = set()
    for name in PORTS:
        wanted = chosen.get(name) or Settings.model_fields[name].default
        chosen[name] = choose_port("127.0.0.1", wanted, frozenset(taken))
        taken.add(chosen[name])
    for name in ("token_pepper", "database_role_password"):
        chosen.setdefault(name, secrets.token_urlsafe(32))
    write_private(home / CHOSEN, chosen)
    installation.settings = load()
    return installation


def _postgres(home: Path, chosen: dict[str, Any], say: Say) -> EmbeddedPostgres:
    known = str(chosen.get("database_url", ""))
    port = int(known.rpartition(":")[2].partition("/")[0]) if known else 0
    password = known.partition("://")[2].partition(":")[2].partition("@")[0]
    postgres = new_postgres(place(home), 0, password)
    if postgres.pid() is not None:
        postgres.stop()  # left over from a parent that was killed
    postgres = new_postgres(place(home), port, password)
    say("starting Postgres")
    postgres.start()
    return postgres


def _kafka(home: Path, chosen: dict[str, Any], say: Say) -> EmbeddedKafka:
    known = str(chosen.get("kafka_bootstrap_servers", ""))
    kafka = new_kafka(home / "kafka")
    if kafka.process() is not None:
        kafka.stop()  # left over from a parent that was killed
    kafka = new_kafka(home / "kafka", int(known.rpartition(":")[2]) if known else 0)
    say("starting Kafka")
    kafka.start(lambda done, total: say(f"fetching Kafka's jars: {done} of {total}"))
    return kafka


def start_services(installation: Installation, show: IO[str] | None, say: Say) -> None:
    """Start the three services and wait until each is ready. Raises `ServiceFailed`.

    Their logs go to files in the data folder, and to `show` with the service's name before it.
    """
    say("starting the services")
    children = installation.settings.home / CHILDREN
    _end_orphans(children)
    for name in SERVICES:
        installation.services.append(_start_service(name, installation.settings, show))
    write_private(children, {s.name: _identity(s.process.pid) for s in installation.services})
    deadline = time.monotonic() + READY_SECONDS
    for service in installation.services:
        url = f"{installation.settings.ops_url(service.name)}/readyz"
        while (answer := probe(url)) != "ready":
            if service.process.poll() is not None:
                raise ServiceFailed(f"{service.name} ended at its start: see {service.log}")
            if time.monotonic() > deadline:
                raise ServiceFailed(f"{service.name} is not ready ({answer}): see {service.log}")
            time.sleep(0.1)


def _identity(pid: int) -> list[float]:
    """Tell a process from another that gets its id later: id and start time."""
    return [pid, psutil.Process(pid).create_time()]


def _end_orphans(children: Path) -> None:
    """End services that a killed owner left behind: they hold our ports and partitions."""
    if not children.exists():
        return
    for pid, started in json.loads(children.read_text()).values():
        try:
            process = psutil.Process(int(pid))
            if abs(process.create_time() - started) < 1:
                process.kill()
                process.wait(STOP_SECONDS)
        except psutil.NoSuchProcess:
            continue


def _start_service(name: str, settings: Settings, show: IO[str] | None) -> Service:
    log = settings.home / "logs" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    process = subprocess.Popen(  # noqa: S603 (our own program and arguments)
        [sys.executable, "-m", f"services.{name}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # the terminal's Ctrl-C is for the owner, who stops all in order
        env=os.environ | {environment_name("home"): str(settings.home.absolute())},
    )
    copier = threading.Thread(target=_copy, args=(name, process, log, show), daemon=True)
    copier.start()
    return Service(name, process, log, copier)


def _copy(name: str, process: "subprocess.Popen[bytes]", log: Path, show: IO[str] | None) -> None:
    colour = {"ingest": 36, "metrics": 35, "billing": 33}[name]
    coloured = show is not None and show.isatty()
    prefix = f"\x1b[{colour}m{name:8}\x1b[0m" if coloured else f"{name:8}"
    assert process.stdout is not None
    with log.open("ab") as file, process.stdout as lines:
        for line in lines:
            file.write(line)
            file.flush()
            if show is not None:
                show.write(f"{prefix} {line.decode(errors='replace')}")


def stop(installation: Installation) -> None:
    """Stop the services, then the servers that we started; bounded at each step."""
    for service in installation.services:
        service.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for service in installation.services:
        try:
            service.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            service.process.kill()
            service.process.wait()
        service.copier.join(1)
    installation.services.clear()
    if installation.kafka is not None:
        installation.kafka.stop()
    if installation.postgres is not None:
        installation.postgres.stop()


def probe(url: str, seconds: float = 2.0) -> str:
    """Ask a service whether it is ready: "ready", or why not in a few words."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as response:  # noqa: S310 (our own address)
            json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            checks = json.load(error).get("checks", {})
        waiting = [f"{name}: {c['reason']}" for name, c in checks.items() if not c["ready"]]
        return ", ".join(waiting) or f"status {error.code}"
    except (OSError, ValueError):
        return "no answer"
    return "ready"
