"""One installation on this machine: servers, schema, topics and services, from start to stop."""

import asyncio
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from services.kafka import ensure_topics, ready
from services.machine.children import (
    CHILDREN,
    SERVICES,
    Child,
    ServiceFailed,
    await_ready,
    end_orphans,
    last_words,
    note_children,
    start_child,
    stop_children,
)
from services.machine.database import told_refusals
from services.machine.embedded_kafka import EmbeddedKafka, new_kafka
from services.machine.embedded_postgres import EmbeddedPostgres, find_place, new_postgres, place
from services.machine.operator_tokens import ensure_operator_tokens
from services.machine.ownership import owned
from services.machine.ports import choose_port, is_free
from services.settings import (
    CHOSEN,
    Settings,
    environment_name,
    private_folder,
    read_chosen,
    read_private,
    write_private,
)

PORTS: Final = tuple(f"{name}{kind}_port" for name in SERVICES for kind in ("", "_ops"))
SECRETS: Final = ("token_pepper", "database_role_password")
KAFKA: Final = tuple(name for name in Settings.model_fields if name.startswith("kafka_"))
SERVERS: Final = "servers.json"  # in the data folder: how our own Postgres and Kafka were made
WATCH_SECONDS: Final = 0.5
RESTARTS_MAX: Final = 5
RESTARTS_WINDOW_SECONDS: Final = 60.0

Say = Callable[[str], None]


class StopAsked(Exception):
    """Somebody asked to stop before everything had started."""


class PortTaken(Exception):
    """A port that was asked for by name is not free; the message says which."""


@dataclass
class Installation:
    """What runs here, and the settings that reach it."""

    settings: Settings
    tokens: dict[str, str] = field(default_factory=dict)
    postgres: EmbeddedPostgres | None = None
    kafka: EmbeddedKafka | None = None
    children: dict[str, Child] = field(default_factory=dict)
    failure: Exception | None = None  # set when a part ends again and again

    def logs(self) -> dict[str, Path]:
        """Say where each part's words go."""
        found = {name: child.log for name, child in self.children.items()}
        if self.kafka is not None:
            found["kafka"] = self.kafka.log
        if self.postgres is not None:
            found["postgres"] = self.postgres.log
        return found


def hear_signals() -> threading.Event:
    """Return what SIGINT, SIGTERM and SIGHUP set from now on, to stop an installation in order.

    One that came in ignored stays so: `nohup` lets a command outlive its terminal that way.
    """
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: asked.set())
    return asked


class _Starting:
    """A start as all threads of it tell of it, and hear that it is to stop."""

    def __init__(self, say: Say, stop_asked: threading.Event) -> None:
        self._say = say
        self._stop_asked = stop_asked
        self._telling = threading.Lock()
        self._stopping = False

    def say(self, words: str) -> None:
        """Tell a step; those that still end after a stop was asked for are told no more."""
        with self._telling:
            if not self._stopping:
                self._say(words)

    def checkpoint(self) -> None:
        """Raise `StopAsked` if somebody asked; the first time, tell that it was heard."""
        if not self._stop_asked.is_set():
            return
        with self._telling:
            if not self._stopping:
                self._stopping = True
                self._say("stopping")
        raise StopAsked


@contextmanager
def running(
    given: Settings, say: Say, note: Say, stop_asked: threading.Event | None = None
) -> Iterator[Installation]:
    """Run a whole installation for the length of a block; all of it is ready when that begins.

    `given` holds what the environment names (`load(remembered=False)`); the rest is remembered in
    the data folder, or chosen and then remembered. `say` hears each step of the start; `note` hears
    of a part that ended meanwhile and is started again.
    Raises `AlreadyOwned`, `SettingsRefused`, `PortTaken`, `PostgresFailed`, `KafkaFailed`,
    `JarsUnavailable`, `TopicRefused`, `ServiceFailed`, and `StopAsked` when told to stop before all
    is ready.
    """
    starting = _Starting(say, stop_asked or threading.Event())
    given = given.model_copy(update={"home": given.home.absolute()})
    with owned(given.home):
        installation = Installation(given)
        watched = threading.Event()
        watcher = threading.Thread(
            target=_watch, args=(installation, watched, note), name="watch", daemon=True
        )
        try:
            _start(installation, starting.say, starting.checkpoint)
            watcher.start()
            yield installation
        finally:
            watched.set()
            if watcher.ident is not None:
                watcher.join()
            _stop(installation)


def _start(installation: Installation, say: Say, checkpoint: Callable[[], None]) -> None:
    home = installation.settings.home
    private_folder(home)
    if count := end_orphans(home):
        say(f"ended {count} services that a killed owner had left")
    _check_ports(installation.settings)
    _start_servers(installation, say, checkpoint)
    checkpoint()
    installation.settings = _choose(installation)
    say("bringing the schema up to date")
    from services.migrations import migrate  # noqa: PLC0415 (0.3 s that only a start needs)

    with told_refusals(installation.settings):
        migrate(installation.settings)
    checkpoint()
    say("checking the topics")
    asyncio.run(ensure_topics(installation.settings))
    asyncio.run(ready(installation.settings))
    installation.tokens = asyncio.run(ensure_operator_tokens(installation.settings))
    checkpoint()
    say("starting ingest, metrics and billing")
    for name in SERVICES:
        installation.children[name] = start_child(name, installation.settings)
        note_children(home, installation.children.values())
    for child in installation.children.values():
        await_ready(child, installation.settings, checkpoint)


def _start_servers(installation: Installation, say: Say, checkpoint: Callable[[], None]) -> None:
    """Start the servers that nobody gave us, both at once."""
    home = installation.settings.home
    known = _read_servers(home)
    starts: list[Callable[[], None]] = []
    if not installation.settings.database_url:
        installation.postgres = postgres = _postgres(home, known)
        starts.append(lambda: postgres.start(checkpoint))
    if not installation.settings.kafka_bootstrap_servers:
        installation.kafka = kafka = _kafka(home, known)
        starts.append(lambda: kafka.start(say, checkpoint))
    if not starts:
        return
    write_private(home / SERVERS, known)
    say("starting " + " and ".join(_names(installation)))
    with ThreadPoolExecutor() as pool:
        for started in [pool.submit(start) for start in starts]:
            started.result()
    _link_logs(installation)


def _names(installation: Installation) -> list[str]:
    return [
        name
        for name, server in (("Postgres", installation.postgres), ("Kafka", installation.kafka))
        if server is not None
    ]


def _read_servers(home: Path) -> dict[str, Any]:
    return read_private(
        home / SERVERS,
        "put back a copy of it: it has the password of Postgres, which also stands in the "
        f"database_url of {CHOSEN}",
    )


def _postgres(home: Path, known: dict[str, Any]) -> EmbeddedPostgres:
    """Describe our Postgres with the password it was made with, on its old port if that is free."""
    folder = place(home)
    EmbeddedPostgres(folder, 0, "").stop()  # one that a killed owner has left holds the port
    old = known.get("postgres", {})
    postgres = new_postgres(folder, old.get("port", 0), old.get("password", ""))
    known["postgres"] = {"port": postgres.port, "password": postgres.password}
    return postgres


def _kafka(home: Path, known: dict[str, Any]) -> EmbeddedKafka:
    folder = home / "kafka"
    EmbeddedKafka(folder, 0, 0).stop()
    old = known.get("kafka", {})
    kafka = new_kafka(folder, old.get("port", 0), old.get("controller_port", 0))
    known["kafka"] = {"port": kafka.port, "controller_port": kafka.controller_port}
    return kafka


def _link_logs(installation: Installation) -> None:
    """Put the servers' logs where people look for them."""
    logs = private_folder(installation.settings.home / "logs")
    for name, log in installation.logs().items():
        link = logs / f"{name}.log"
        link.unlink(missing_ok=True)
        link.symlink_to(log)


def _choose(installation: Installation) -> Settings:
    """Settle addresses, ports and secrets, and remember them for commands and the next start."""
    given = installation.settings
    old = read_chosen(given.home)
    chosen: dict[str, Any] = {
        "database_url": installation.postgres.url if installation.postgres else given.database_url,
        **_plain(given, KAFKA),
    }
    if installation.kafka:
        chosen["kafka_bootstrap_servers"] = installation.kafka.bootstrap_servers
    taken: set[int] = set()
    for name in PORTS:
        chosen[name] = _port(given, name, old, taken)
        taken.add(chosen[name])
    for name in SECRETS:
        value = getattr(given, name).get_secret_value()
        chosen[name] = value or old.get(name) or secrets.token_urlsafe(32)
    write_private(given.home / CHOSEN, chosen)
    return Settings(**(given.model_dump(exclude_unset=True) | chosen))


def _plain(given: Settings, names: Iterable[str]) -> dict[str, Any]:
    """Give settings as they are written down, secrets too."""
    values = {name: getattr(given, name) for name in names}
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in values.items()
    }


def _check_ports(given: Settings) -> None:
    """Refuse a host that is not ours and a port that is taken, before anything is started."""
    is_free(given.host, 0)
    asked: set[int] = set()
    for name in PORTS:
        wanted: int = getattr(given, name)
        if name not in given.model_fields_set or not wanted:
            continue
        if wanted in asked or not is_free(given.host, wanted):
            raise PortTaken(
                f"port {wanted} is in use: set {environment_name(name)} to another, or to 0 and "
                "a free one is chosen"
            )
        asked.add(wanted)


def _port(given: Settings, name: str, old: dict[str, Any], taken: set[int]) -> int:
    """Take the port that was asked for, else the remembered one or the usual one if it is free."""
    if name not in given.model_fields_set:
        wanted = old.get(name) or Settings.model_fields[name].default
        return choose_port(given.host, wanted, frozenset(taken))
    return getattr(given, name) or choose_port(given.host, 0, frozenset(taken))


def _watch(installation: Installation, watched: threading.Event, note: Say) -> None:
    """Start again what ends on its own; a watch that cannot go on is told as a failure."""
    try:
        _mend(installation, watched, note)
    except Exception as error:  # noqa: BLE001 (told to whoever waits, who then stops)
        installation.failure = error


def _mend(installation: Installation, watched: threading.Event, note: Say) -> None:
    restarts: dict[str, list[float]] = {}
    while not watched.wait(WATCH_SECONDS):
        name = _ended(installation)
        if name is None:
            continue
        log = installation.logs()[name]
        now = time.monotonic()
        recent = [t for t in restarts.get(name, []) if now - t < RESTARTS_WINDOW_SECONDS]
        restarts[name] = [*recent, now]
        if len(recent) >= RESTARTS_MAX:
            raise ServiceFailed(f"{name} ends again and again{last_words(log)}")
        words = f"{name} ended and is started again{last_words(log)}"
        with suppress(OSError, SystemExit):  # nobody reads it any more; rich raises the second
            note(words)
        if watched.wait(min(0.2 * 2 ** len(recent), 5)):
            return
        _restart(installation, name)


def _ended(installation: Installation) -> str | None:
    """Name a part that is over; the servers first, for the services need them."""
    if installation.postgres is not None and installation.postgres.pid() is None:
        return "postgres"
    if installation.kafka is not None and installation.kafka.process() is None:
        return "kafka"
    return next((name for name, child in installation.children.items() if child.ended), None)


def _restart(installation: Installation, name: str) -> None:
    if name == "postgres" and installation.postgres is not None:
        installation.postgres.start()
    elif name == "kafka" and installation.kafka is not None:
        installation.kafka.start()
    else:
        installation.children[name] = start_child(name, installation.settings)
        note_children(installation.settings.home, installation.children.values())


def _stop(installation: Installation) -> None:
    """Stop the services, then the servers that we started; bounded at each step."""
    stop_children(installation.children.values())
    (installation.settings.home / CHILDREN).unlink(missing_ok=True)
    stops = [server.stop for server in (installation.kafka, installation.postgres) if server]
    if stops:
        with ThreadPoolExecutor() as pool:
            for stopped in [pool.submit(stop) for stop in stops]:
                stopped.result()


def recover(home: Path) -> list[str]:
    """Stop whatever a killed owner has left, and name it; call only where nobody is the owner."""
    found = ["services"] if end_orphans(home) else []
    postgres = EmbeddedPostgres(find_place(home), 0, "")
    kafka = EmbeddedKafka(home.absolute() / "kafka", 0, 0)
    if kafka.process() is not None:
        kafka.stop()
        found.append("Kafka")
    if postgres.pid() is not None:
        postgres.stop()
        found.append("Postgres")
    return found
