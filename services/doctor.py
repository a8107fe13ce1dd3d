"""What `turnsheet doctor` looks at: each part of an installation, and how to mend it."""

import asyncio
import platform
import sys
from typing import Any, NamedTuple

import psycopg

from services.embedded_kafka import KafkaFailed, find_java
from services.installation import SERVICES, owner_of, probe
from services.jars import cache_folder, read_lock
from services.kafka import ready
from services.settings import Described, Settings, describe

__all__ = ["Described", "Finding", "describe", "examine", "report"]

START_IT = "run `turnsheet up`"


class Finding(NamedTuple):
    """The state of one part; `mend` is empty when nothing is wrong."""

    part: str
    state: str
    mend: str


def examine(settings: Settings) -> list[Finding]:
    """Look at every part; a part that does not run is found, not raised."""
    findings = [
        Finding("python", platform.python_version(), "" if sys.version_info >= (3, 11) else "3.11"),
        _java(settings),
        _jars(settings),
        _postgres(settings),
        asyncio.run(_kafka(settings)),
    ]
    owner = owner_of(settings.home)
    findings.append(
        Finding("owner", "nobody", START_IT)
        if owner is None
        else Finding("owner", f"process {owner['pid']} since {owner['since']}", "")
    )
    for name in SERVICES:
        state = probe(f"{settings.ops_url(name)}/readyz")
        mend = "" if state == "ready" else START_IT if state == "no answer" else "see its log"
        findings.append(Finding(name, state, mend))
    return findings


def _java(settings: Settings) -> Finding:
    try:
        return Finding("java", find_java(), "")
    except KafkaFailed as error:
        return Finding("java", "missing", "" if settings.kafka_bootstrap_servers else str(error))


def _jars(settings: Settings) -> Finding:
    missing = sum(not (cache_folder() / jar.filename).exists() for jar in read_lock())
    if not missing:
        return Finding("kafka jars", f"all in {cache_folder()}", "")
    needed = "" if settings.kafka_bootstrap_servers else "`turnsheet up` fetches them once"
    return Finding("kafka jars", f"{missing} missing", needed)


def _postgres(settings: Settings) -> Finding:
    if not settings.database_url:
        return Finding("postgres", "not started yet", START_IT)
    try:
        with psycopg.connect(settings.database_url, connect_timeout=3) as conn:
            version = conn.info.server_version // 10_000
    except psycopg.Error:
        return Finding("postgres", "no answer", f"{START_IT}, or check DATABASE_URL")
    return Finding("postgres", f"version {version}", "" if version >= 15 else "use 15 or later")


async def _kafka(settings: Settings) -> Finding:
    if not settings.kafka_bootstrap_servers:
        return Finding("kafka", "not started yet", START_IT)
    try:
        async with asyncio.timeout(8):
            await ready(settings)
    except Exception as error:  # noqa: BLE001 (whatever it is, Kafka is not ready)
        return Finding("kafka", type(error).__name__, f"{START_IT}, or check its address")
    return Finding("kafka", "a record was produced and read back", "")


def report(settings: Settings, findings: list[Finding]) -> dict[str, Any]:
    """Put findings and settings into one JSON object."""
    return {
        "parts": [finding._asdict() for finding in findings],
        "settings": [row._asdict() for row in describe(settings)],
    }
