"""Topics: made with settings we name, verified against them, and how far their logs reach."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.events import TOPICS
from services.kafka_clients import stop_consumer, stop_producer
from services.settings import Settings
from services.topic_ids import fetch_topic_ids

READY_TOPIC: Final = "ready"
RECORD_BYTES_MAX: Final = 1_048_576
REQUEST_MILLISECONDS: Final = 5_000
_EXISTS: Final = 36


class TopicRefused(Exception):
    """A topic could not be made, or exists with other settings; the message says which."""


def topic_settings(settings: Settings) -> dict[str, str]:
    """Say what every topic of ours is set to: kept for ever, nothing compacted."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "max.message.bytes": str(RECORD_BYTES_MAX),
        "segment.index.bytes": str(settings.topic_index_bytes),
        "message.timestamp.type": "CreateTime",
    }


@asynccontextmanager
async def admin_client(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open an admin client for the length of a block."""
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        request_timeout_ms=REQUEST_MILLISECONDS,
    )
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def ensure_topics(settings: Settings) -> None:
    """Make the topics that are missing and verify all. Raises `TopicRefused`.

    An existing topic with other settings is an error, not a shrug: a retention of a week would
    lose the source of everything.
    """
    wanted = {settings.topic(name): settings.topic_partitions for name in TOPICS}
    wanted[settings.topic(READY_TOPIC)] = 1
    async with admin_client(settings) as admin:
        answer = await admin.create_topics(
            [
                NewTopic(
                    name, count, settings.topic_replication, topic_configs=topic_settings(settings)
                )
                for name, count in wanted.items()
            ]
        )
        for topic, code, *rest in answer.topic_errors:
            if code not in {0, _EXISTS}:
                raise TopicRefused(f"topic {topic} could not be made: error {code} {rest}")
        await _verify(admin, settings, wanted)


async def _verify(admin: AIOKafkaAdminClient, settings: Settings, wanted: dict[str, int]) -> None:
    found = await _describe(admin, list(wanted))
    expected = topic_settings(settings)
    for topic, count in wanted.items():
        partitions, values = found[topic]
        differing = {
            name: (values.get(name), value)
            for name, value in expected.items()
            if values.get(name) != value
        }
        if partitions != count:
            differing["partitions"] = (str(partitions), str(count))
        if differing:
            said = ", ".join(f"{n} is {is_}, not {must}" for n, (is_, must) in differing.items())
            raise TopicRefused(f"topic {topic} exists with other settings: {said}")


async def _describe(
    admin: AIOKafkaAdminClient, topics: list[str]
) -> dict[str, tuple[int, dict[str, str]]]:
    """Return partitions and settings by topic; a new topic may need a moment to be known."""
    for _ in range(50):
        described = await admin.describe_topics(topics)
        if all(row["error_code"] == 0 and row["partitions"] for row in described):
            break
        await asyncio.sleep(0.1)
    else:
        raise TopicRefused(f"topics {', '.join(topics)} are not known to the broker after 5 s")
    counts = {row["topic"]: len(row["partitions"]) for row in described}
    answers = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
    )
    values = {
        resource[3]: {entry[0]: entry[1] for entry in resource[4]}
        for answer in answers
        for resource in answer.resources
    }
    return {topic: (counts[topic], values[topic]) for topic in topics}


async def log_ends(settings: Settings, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """Return the end of each partition's log, the offset of its next record, by (topic, partition).

    `topics` are full names, prefix included.
    """
    consumer = _reader(settings)
    try:
        await consumer.start()
        counts = await _describe_counts(settings, list(topics))
        wanted = [TopicPartition(t, p) for t in topics for p in range(counts[t])]
        ends = await consumer.end_offsets(wanted)
    finally:
        await stop_consumer(consumer)
    return {(tp.topic, tp.partition): end for tp, end in ends.items()}


async def _describe_counts(settings: Settings, topics: list[str]) -> dict[str, int]:
    async with admin_client(settings) as admin:
        described = await admin.describe_topics(topics)
    missing = [row["topic"] for row in described if row["error_code"] != 0]
    if missing:
        raise TopicRefused(f"topics {', '.join(missing)} do not exist")
    return {row["topic"]: len(row["partitions"]) for row in described}


async def topic_ids(settings: Settings, topics: Sequence[str]) -> dict[str, UUID]:
    """Return the ids of topics (full names); one that does not exist is not in the answer."""
    async with admin_client(settings) as admin:
        return await fetch_topic_ids(admin._client, list(topics))  # noqa: SLF001 (no public way)


async def ready(settings: Settings) -> None:
    """Return when a record was produced with acks=all and read back; raise whatever prevents it."""
    topic = TopicPartition(settings.topic(READY_TOPIC), 0)
    servers = settings.kafka_bootstrap_servers
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, acks="all", request_timeout_ms=REQUEST_MILLISECONDS
    )
    try:
        await producer.start()
        sent = await producer.send_and_wait(topic.topic, b"ready", partition=topic.partition)
    finally:
        await stop_producer(producer)
    consumer = _reader(settings)
    try:
        await consumer.start()
        consumer.assign([topic])
        consumer.seek(topic, sent.offset)
        async with asyncio.timeout(REQUEST_MILLISECONDS / 1000):
            await consumer.getone(topic)
    finally:
        await stop_consumer(consumer)


def _reader(settings: Settings) -> AIOKafkaConsumer:
    """Make a consumer without a group, for a look at the log."""
    return AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        request_timeout_ms=REQUEST_MILLISECONDS,
        enable_auto_commit=False,
        auto_offset_reset="none",
    )
