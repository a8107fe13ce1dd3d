"""Events as their senders write them, and a way to put them on the log."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.envelope import read_event
from schemas.events import TOPIC_OF_KIND, entity_of
from services.producer import Producer, Record
from services.settings import Settings

START = datetime(2026, 7, 1, 14, tzinfo=UTC)


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


async def put(settings: Settings, bodies: Iterable[bytes], principal: str = "tracker:as-1") -> None:
    """Put events on the log, each on its topic, in their order."""
    by_topic: dict[str, list[Record]] = {}
    for topic, made in (placed(body, principal) for body in bodies):
        by_topic.setdefault(topic, []).append(made)
    async with Producer(settings) as producer:
        await producer.wait_connected()
        for topic, records in by_topic.items():
            await producer.produce(settings.topic(topic), records, 10)


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
