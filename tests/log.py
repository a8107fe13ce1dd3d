"""Events as their senders write them; the log that they are put on; and who has read it."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from schemas.envelope import read_event
from schemas.events import TOPIC_OF_KIND, entity_of
from services.demo.workload import Sent
from services.folding import Reading, caught_up, rebuild
from services.kafka import log_ends
from services.postgres import Connection, connect
from services.producer import Producer, Record
from services.settings import Settings

START = datetime(2026, 7, 1, 14, tzinfo=UTC)
PRODUCE_SECONDS = 10
PRODUCE_RECORDS = 2_000  # in one call


def event(name: str, event_id: str, data: dict[str, Any], *, minutes: float = 0,
          source: str = "tracker/as-1") -> bytes:  # fmt: skip
    """Write an event `minutes` after START; `name` is like `task.started`."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": event_id,
            "source": source,
            "type": f"turnsheet.{name}.v1",
            "time": (START + timedelta(minutes=minutes)).isoformat(),
            "data": data,
        }
    ).encode()


def placed(
    body: bytes, principal: str = "tracker:as-1", received_at: datetime = START
) -> tuple[str, Record]:
    """Put an event's bytes into the record that ingest would make of them; say for which topic."""
    read = read_event(body)
    entity = entity_of(read.type, read.data)
    made = Record(
        entity.firm_id.encode(),
        body,
        [
            ("content-type", b"application/cloudevents+json"),
            ("received_at", received_at.isoformat().encode()),
            ("principal", principal.encode()),
        ],
    )
    return TOPIC_OF_KIND[entity.kind], made


def record(body: bytes, principal: str = "tracker:as-1", received_at: datetime = START) -> Record:
    """Put an event's bytes into the record that ingest would make of them."""
    return placed(body, principal, received_at)[1]


def topic_of(body: bytes) -> str:
    """Say on which topic an event lies."""
    return placed(body)[0]


FIRM = event(
    "firm.registered",
    "d1",
    {"firm_id": "firm-1", "timezone": "America/New_York", "country": "US", "currency": "USD"},
    minutes=-60_000,
)
PLACEMENT = event(
    "placement.started",
    "d2",
    {
        "firm_id": "firm-1",
        "placement_id": "pl-1",
        "assistant_id": "as-1",
        "role": "legal_assistant",
        "country": "PH",
        "phase": "active",
        "coverage": "overlap",
        "shift": {
            "zone": "Asia/Manila",
            "slots": [{"weekday": n, "start": "21:00", "minutes": 540} for n in range(1, 6)],
        },
        "supervising_attorney_id": "at-1",
        "started_at": "2026-05-01T00:00:00-04:00",
    },
    minutes=-60_000,
)
DIRECTORY = (FIRM, PLACEMENT)


def entry(entry_id: str, minutes: int, *, at: int = 0, event_id: str = "", **more: Any) -> bytes:
    """Write a recorded entry of some minutes, starting `at` minutes after START."""
    start = START + timedelta(minutes=at)
    data = {
        "firm_id": "firm-1",
        "placement_id": "pl-1",
        "entry_id": entry_id,
        "started_at": start.isoformat(),
        "ended_at": (start + timedelta(minutes=minutes)).isoformat(),
        "task_type": "document_prep",
        "kind": "work",
        "billable": True,
    } | more
    return event("time.recorded", event_id or f"e-{entry_id}", data, minutes=at + minutes)


def amended(entry_id: str, minutes: int, revision: int) -> bytes:
    """Write the amendment of an entry under a revision: it took so many minutes."""
    body = json.loads(entry(entry_id, minutes, event_id=f"a-{entry_id}-{revision}"))
    body["type"] = "turnsheet.time.amended.v1"
    body["data"] |= {"revision": revision, "reason": "typo"}
    return json.dumps(body).encode()


def voided(entry_id: str, revision: int) -> bytes:
    """Write the void of an entry under a revision."""
    body = json.loads(entry(entry_id, 1, event_id=f"v-{entry_id}-{revision}"))
    body["type"] = "turnsheet.time.voided.v1"
    body["data"] = {k: body["data"][k] for k in ("firm_id", "placement_id", "entry_id")}
    body["data"] |= {"revision": revision, "reason": "mistake"}
    return json.dumps(body).encode()


def of_firm(body: bytes, firm_id: str) -> bytes:
    """Tell the story of firm-1 about another firm, `firm-` and a number."""
    number, text = firm_id.removeprefix("firm-"), body.decode()
    for name in ("firm", "pl", "as"):
        text = text.replace(f'"{name}-1"', f'"{name}-{number}"')
    return text.replace('"id": "', f'"id": "{number}-').encode()


# The log


async def put(settings: Settings, bodies: Iterable[bytes], principal: str = "tracker:as-1") -> None:
    """Put events on the log, each on its topic, in their order."""
    await _put(settings, (placed(body, principal) for body in bodies))


async def put_sent(settings: Settings, events: Iterable[Sent]) -> None:
    """Put simulated events on the log as ingest would have: of their senders, at their times."""
    await _put(settings, (placed(one.body, one.principal, one.sent_at) for one in events))


async def _put(settings: Settings, made: Iterable[tuple[str, Record]]) -> None:
    by_topic: dict[str, list[Record]] = {}
    for topic, one in made:
        by_topic.setdefault(settings.topic(topic), []).append(one)
    async with Producer(settings) as producer:
        await producer.wait_connected()
        for topic, some in by_topic.items():
            for start in range(0, len(some), PRODUCE_RECORDS):
                chunk = some[start : start + PRODUCE_RECORDS]
                await producer.produce(topic, chunk, PRODUCE_SECONDS)


async def records(
    settings: Settings, topics: Iterable[str], since: Mapping[tuple[str, int], int] | None = None
) -> list[ConsumerRecord]:
    """Read topics, named without prefix, to their ends now; from `since`, earlier ends, if given.

    Records of one partition are in its order.
    """
    begins = since or {}
    ends = await log_ends(settings, [settings.topic(name) for name in topics])
    places = [TopicPartition(*place) for place, end in ends.items() if end > begins.get(place, 0)]
    if not places:
        return []
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign(places)
        for place in places:
            consumer.seek(place, begins.get(place, 0))
        wanted = sum(ends[place] - begins.get(place, 0) for place in places)
        found: list[ConsumerRecord] = []
        while len(found) < wanted:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                found.extend(batch)
        return found
    finally:
        await consumer.stop()


# Who has read it


async def applied(
    settings: Settings, reading: Reading, conn: "Connection | None" = None, seconds: float = 60
) -> float:
    """Wait until a house has applied all that is on its topics now; return how many seconds.

    Asks on `conn`, or on a connection of its own. Raises TimeoutError after `seconds`.
    """
    if conn is None:
        own = await connect(settings, reading.house, "writer")
        try:
            return await applied(settings, reading, own, seconds)
        finally:
            await own.close()
    started = time.monotonic()
    async with asyncio.timeout(seconds):
        ends = await ends_once_told(settings, [settings.topic(name) for name in reading.topics])
        while not await caught_up(conn, ends):  # noqa: ASYNC110 (another process's table)
            await asyncio.sleep(0.02)
    return time.monotonic() - started


async def ends_once_told(settings: Settings, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """Ask until a broker says how far topics reach: one that has just come back may not know."""
    while True:
        try:
            return await log_ends(settings, topics)
        except KafkaError:
            await asyncio.sleep(0.1)


async def insist_on_rebuild(conn: Connection, seconds: float = 60) -> None:
    """Rebuild a house, again where a reader was in the way, as the command's user is told to.

    Raises TimeoutError after `seconds`.
    """
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await rebuild(conn)
            except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError):
                await asyncio.sleep(0.1)
