"""Services as processes on real servers, tokens, and a look at the log behind them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.kafka import ensure_topics, log_ends
from services.postgres import connect
from services.settings import Settings
from services.web.auth import Kind, NewToken, create_token
from tests.faults.conftest import folder, own_kafka, own_postgres

__all__ = ["folder", "own_kafka", "own_postgres"]


@dataclass(frozen=True)
class Tester:
    """Who makes tokens in tests."""

    id: str = "admin:tester"


async def make_token(settings: Settings, kind: Kind = "tracker", **bounds: Any) -> str:
    """Make a token of firm-1's tracker, or as `bounds` say."""
    given: dict[str, Any] = {
        "principal_id": f"{kind}:one",
        "expires_at": datetime.now(UTC) + timedelta(days=1),
        "firms": ("firm-1",),
        "placements": ("pl-1",),
        "sources": ("tracker/as-1",),
    }
    conn = await connect(settings, "identity", "writer")
    try:
        return await create_token(
            conn,
            settings.token_pepper,
            NewToken(kind=kind, **(given | bounds)),
            actor=Tester(),
            now=datetime.now(UTC) - timedelta(days=2),
        )
    finally:
        await conn.close()


async def logged_ids(settings: Settings, topic: str = "time-events") -> list[str]:
    """Return the id of every event on a topic, in the log's order, copies included."""
    name = settings.topic(topic)
    ends = await log_ends(settings, [name])
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, enable_auto_commit=False
    )
    await consumer.start()
    try:
        places = [TopicPartition(name, partition) for name, partition in ends]
        consumer.assign(places)
        for place in places:
            consumer.seek(place, 0)
        found: list[str] = []
        while len(found) < sum(ends.values()):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                found += [record.value.partition(b'"id": "')[2].split(b'"')[0].decode()
                          for record in batch]  # fmt: skip
        return found
    finally:
        await consumer.stop()


@pytest.fixture
async def here(settings: Settings) -> Settings:
    """Settings of an installation on the shared servers, its topics made."""
    await ensure_topics(settings)
    return settings
