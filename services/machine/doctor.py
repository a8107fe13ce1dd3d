"""What `turnsheet doctor` looks at: each part of an installation, and how to mend it."""

import asyncio
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import psycopg
from aiokafka.errors import KafkaConnectionError

from services.kafka import TopicRefused, ready
from services.kafka_clients import Obstacle, find_obstacle
from services.machine.children import find_orphans, probe_services
from services.machine.database import find_refusal
from services.machine.embedded_kafka import KafkaFailed, find_java
from services.machine.embedded_postgres import PostgresFailed, check_can_run
from services.machine.jars import cache_folder, missing_jars
from services.machine.ownership import find_owner
from services.settings import Settings, database_place, describe, load, unknown_names

START_IT: Final = "run `turnsheet up`"
POSTGRES_MIN: Final = 15
JAVA_MIN: Final = 17
KAFKA_SECONDS: Final = 8
PRIVATE: Final = ("chosen.json", "servers.json", "tokens.json", "kafka", "logs")


class Finding(NamedTuple):
    """The state of one part; `mend` is empty when nothing is wrong."""

    part: str
    state: str
    mend: str


def examine(environment: Mapping[str, str]) -> tuple[Settings, list[Finding]]:
    """Look at every part; a part that does not run is found, not raised.

    Raises `SettingsRefused` for a value that cannot be used; an unknown name is a finding.
    """
    strange = unknown_names(environment)
    settings = load({name: v for name, v in environment.items() if name not in strange})
    findings = [Finding("settings", name, sentence) for name, sentence in strange.items()]
    findings += [_python(), _data_folder(settings)]
    if not environment.get("KAFKA_BOOTSTRAP_SERVERS"):
        findings += [_java(), _jars()]
    findings += [_postgres(settings), asyncio.run(_kafka(settings)), _owner(settings)]
    for name, state in probe_services(settings).items():
        log = settings.home / "logs" / f"{name}.log"
        mend = START_IT if state == "no answer" else f"see {log}"
        findings.append(Finding(name, state, "" if state == "ready" else mend))
    return settings, findings


def _python() -> Finding:
    fits = sys.version_info >= (3, 11)
    return Finding("python", platform.python_version(), "" if fits else "use 3.11 or later")


def _data_folder(settings: Settings) -> Finding:
    home = settings.home.absolute()
    if not home.exists():
        return Finding("data folder", f"{home} is not made yet", START_IT)
    for path in (home, *(home / name for name in PRIVATE)):
        allowed = 0o711 if path == home else 0o700  # root's Postgres, another user, may pass
        if path.exists() and path.stat().st_mode & 0o777 & ~allowed:
            mode = 700 if path.is_dir() else 600
            return Finding("data folder", f"{path} is open to others", f"chmod {mode} it")
    return Finding("data folder", str(home), "")


def _java() -> Finding:
    """Look for the Java of our own Kafka."""
    try:
        java = find_java()
    except KafkaFailed as error:
        return Finding("java", "missing", str(error))
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)  # noqa: S603 (the Java we start Kafka with)
    words = told.stderr.split('"')
    version = words[1] if len(words) > 1 else "unknown"
    major = version.partition(".")[0]
    fits = major.isdigit() and int(major) >= JAVA_MIN
    return Finding("java", f"{version} at {java}", "" if fits else "use Java 17 or later")


def _jars() -> Finding:
    """Look for what our own Kafka is made of."""
    missing = len(missing_jars())
    if missing:
        return Finding("kafka jars", f"{missing} missing", f"{START_IT}: it fetches them")
    return Finding("kafka jars", f"all in {cache_folder()}", "")


def _postgres(settings: Settings) -> Finding:
    if not settings.database_url:
        try:
            check_can_run()
        except PostgresFailed as error:
            return Finding("postgres", "cannot run here", str(error))
        return Finding("postgres", "not started yet", START_IT)
    place = database_place(settings.database_url)
    try:
        with psycopg.connect(settings.database_url, connect_timeout=3) as conn:
            version = conn.info.server_version // 10_000
    except psycopg.Error:
        away = Obstacle(f"no answer at {place}", f"{START_IT}, or check DATABASE_URL")
        return Finding("postgres", *(asyncio.run(find_refusal(settings)) or away))
    mend = "" if version >= POSTGRES_MIN else f"use Postgres {POSTGRES_MIN} or later"
    return Finding("postgres", f"version {version} at {place}", mend)


async def _kafka(settings: Settings) -> Finding:
    place = settings.kafka_bootstrap_servers
    if not place:
        return Finding("kafka", "not started yet", START_IT)
    try:
        async with asyncio.timeout(KAFKA_SECONDS):
            await ready(settings)
    except TopicRefused as error:
        return Finding("kafka", "a topic is not as it should be", str(error))
    except KafkaConnectionError:
        return Finding("kafka", *await find_obstacle(settings))
    except Exception as error:  # noqa: BLE001 (whatever it is, Kafka is not ready)
        state = f"no record went through at {place} ({type(error).__name__})"
        return Finding("kafka", state, f"{START_IT}, or check KAFKA_BOOTSTRAP_SERVERS")
    return Finding("kafka", f"a record was produced and read back at {place}", "")


def _owner(settings: Settings) -> Finding:
    owner = find_owner(settings.home)
    if owner is not None:
        return Finding("owner", f"process {owner.pid} since {owner.since}", "")
    if left := find_orphans(settings.home):
        state = f"none, but {len(left)} services of a killed one run"
        return Finding(
            "owner", state, "run `turnsheet down`, or `turnsheet up`, which replaces them"
        )
    return Finding("owner", "nobody", START_IT)


def report(settings: Settings, findings: list[Finding]) -> dict[str, Any]:
    """Put findings and settings into one JSON object."""
    return {
        "parts": [finding._asdict() for finding in findings],
        "settings": [row._asdict() for row in describe(settings)],
    }
