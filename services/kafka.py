"""Topics: made with settings we name, verified against them, and how far their logs reach."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaConnectionError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from schemas.events import TOPICS
from services.kafka_clients import access, find_obstacle, stop_consumer, stop_producer
from services.settings import Settings
from services.topic_ids import TopicsSeen, see_topics

READY_TOPIC: Final = "ready"
# Probes come for ever and nobody reads them again: an hour of them, in files of ten minutes.
READY_KEPT: Final = {"retention.ms": "3600000", "segment.ms": "600000"}
RECORD_BYTES_MAX: Final = 1_048_576
SEGMENT_BYTES: Final = 1 << 30  # Kafka's own
SEGMENT_BYTES_MAX: Final = (1 << 31) - 1  # a broker may have made it its own
INDEXED_BYTES: Final = 4096  # of a log to an entry of its indexes, Kafka's own
TIME_ENTRY_BYTES: Final = 12  # the longest entry
REQUEST_MILLISECONDS: Final = 5_000
_UNKNOWN: Final = UnknownTopicOrPartitionError.errno
_DENIED: Final = TopicAuthorizationFailedError.errno
_EXISTS: Final = 36
# More copies never hurt, nor do segments with fewer entries in their indexes.
_AT_LEAST: Final = frozenset({"min.insync.replicas", "replication", "index.interval.bytes"})
_AT_MOST: Final = frozenset({"segment.bytes"})


class TopicRefused(Exception):
    """A topic could not be made, or exists with other settings; the message says which."""


class KafkaUnreached(KafkaConnectionError):  # type: ignore[misc]  # aiokafka has no types
    """No client could start; the message says what stands in the way and what to do."""

    def __str__(self) -> str:
        return str(self.args[0])  # without the class's name in front


def topic_settings(settings: Settings) -> dict[str, str]:
    """Say what every topic of events is set to: kept for ever, nothing compacted.

    What is confirmed lies on a majority of the copies, and only one that has it all may lead.
    """
    return _segments(settings.topic_index_bytes) | {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "max.message.bytes": str(RECORD_BYTES_MAX),
        "segment.index.bytes": str(settings.topic_index_bytes),
        "message.timestamp.type": "CreateTime",
        "min.insync.replicas": str(settings.topic_replication // 2 + 1),
        "unclean.leader.election.enable": "false",
    }


def _segments(index_bytes: int) -> dict[str, str]:
    """Keep a segment as small as its indexes have room for.

    A copy takes many batches at once and looks only before whether its indexes are full: then it
    neither follows nor, once killed, starts again. Raised by TimeIndex.maybeAppend of Kafka 4. The
    default of 10 MiB has room for any segment, an entry for every 4 KiB being what a broker makes.
    """
    room = (index_bytes // TIME_ENTRY_BYTES - 1) * INDEXED_BYTES
    if room > SEGMENT_BYTES_MAX:
        return {}
    return {
        "segment.bytes": str(min(room, SEGMENT_BYTES)),
        "index.interval.bytes": str(INDEXED_BYTES),
    }


@asynccontextmanager
async def admin_client(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open an admin client for the length of a block. Raises `KafkaUnreached`."""
    admin = AIOKafkaAdminClient(request_timeout_ms=REQUEST_MILLISECONDS, **access(settings))
    try:
        try:
            await admin.start()
        except KafkaConnectionError:
            raise KafkaUnreached(str(await find_obstacle(settings))) from None
        yield admin
    finally:
        await admin.close()


async def ensure_topics(settings: Settings) -> None:
    """Make the topics that are missing and verify all. Raises `TopicRefused`.

    An existing topic with other settings is an error, not a shrug: a retention of a week would
    lose the source of everything. How long probes are kept is no matter.
    """
    wanted = {settings.topic(name): settings.topic_partitions for name in TOPICS}
    wanted[settings.topic(READY_TOPIC)] = 1
    new = [_new_topic(settings, name, count) for name, count in wanted.items()]
    async with admin_client(settings) as admin:
        answer = await admin.create_topics(new)
        for topic, code, *rest in answer.topic_errors:
            if code not in {0, _EXISTS}:
                words = ": ".join([for_code(code).__name__, *filter(None, rest)])
                raise TopicRefused(f"topic {topic} could not be made: {words}")
        await _verify(admin, settings, wanted)


def _new_topic(settings: Settings, name: str, count: int) -> NewTopic:
    kept = READY_KEPT if name == settings.topic(READY_TOPIC) else {}
    configs = topic_settings(settings) | kept
    return NewTopic(name, count, settings.topic_replication, topic_configs=configs)


async def _verify(admin: AIOKafkaAdminClient, settings: Settings, wanted: dict[str, int]) -> None:
    found = await _describe_once_known(admin, list(wanted))
    expected = topic_settings(settings) | {"replication": str(settings.topic_replication)}
    for topic, count in wanted.items():
        loose = READY_KEPT if topic == settings.topic(READY_TOPIC) else {}
        differing = [
            f"{name} is {found[topic].get(name)}, not {value}"
            for name, value in (expected | {"partitions": str(count)}).items()
            if name not in loose and not _fits(name, found[topic].get(name), value)
        ]
        if differing:
            raise TopicRefused(f"topic {topic} exists with other settings: {', '.join(differing)}")


def _fits(name: str, found: str | None, wanted: str) -> bool:
    """Say whether a setting is as it must be, or safer."""
    if found is not None and name in _AT_LEAST:
        return int(found) >= int(wanted)
    if found is not None and name in _AT_MOST:
        return int(found) <= int(wanted)
    return found == wanted


async def _describe_once_known(
    admin: AIOKafkaAdminClient, topics: list[str]
) -> dict[str, dict[str, str]]:
    """Describe topics; of new ones each node hears in its own time."""
    for _ in range(50):
        described = await _describe(admin, topics)
        if described.keys() == set(topics):
            return described
        await asyncio.sleep(0.1)
    raise TopicRefused(f"topics {', '.join(topics)} are not known to the broker after 5 s")


async def _describe(admin: AIOKafkaAdminClient, topics: list[str]) -> dict[str, dict[str, str]]:
    """Return the settings by topic, `partitions` and `replication` among them.

    A topic that the node we ask does not know is not in the answer. Raises `TopicRefused` for one
    that may not be looked at.
    """
    found: dict[str, dict[str, str]] = {}
    for row in await admin.describe_topics(topics):
        if row["error_code"] == _DENIED:
            raise TopicRefused(f"topic {row['topic']} may not be described by this user")
        if row["error_code"] == 0 and row["partitions"]:
            copies = [len(partition["replicas"]) for partition in row["partitions"]]
            found[row["topic"]] = {"partitions": str(len(copies)), "replication": str(min(copies))}
    answers = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in found]
    )
    for code, _, _, topic, entries in (row for answer in answers for row in answer.resources):
        if code == _UNKNOWN:
            del found[topic]
        elif code != 0:
            raise TopicRefused(f"topic {topic} may not be looked at: {for_code(code).__name__}")
        else:
            found[topic] |= {entry[0]: entry[1] for entry in entries}
    return found


class LogSeen(NamedTuple):
    """How far logs reach: the offset of the next record by (topic, partition), topics' ids."""

    ends: Mapping[tuple[str, int], int]
    ids: Mapping[str, UUID]


async def see_log(settings: Settings, topics: Sequence[str], seconds: float) -> LogSeen:
    """Look how far topics reach (full names, prefix included). Raises `KafkaUnreached` in time.

    A broker that stands still is not waited for: what was begun ends by itself, unheard.
    """
    looking = asyncio.ensure_future(_see_log(settings, topics))
    looking.add_done_callback(_seen)
    try:
        await asyncio.wait({looking}, timeout=seconds)
    finally:
        looking.cancel()
    if not looking.done():
        raise KafkaUnreached(f"Kafka has not answered for {seconds:g} s")
    return looking.result()


async def _see_log(settings: Settings, topics: Sequence[str]) -> LogSeen:
    consumer = _reader(settings)
    try:
        await consumer.start()
        seen = await see_topics(consumer._client, list(topics))  # noqa: SLF001 (no public way)
        _refuse_unseen(topics, seen)
        wanted = [TopicPartition(t, p) for t in topics for p in range(seen.partitions[t])]
        ends = await consumer.end_offsets(wanted)
    finally:
        await stop_consumer(consumer)
    return LogSeen({(tp.topic, tp.partition): end for tp, end in ends.items()}, seen.ids)


def _refuse_unseen(topics: Sequence[str], seen: TopicsSeen) -> None:
    if hidden := [topic for topic in topics if topic in seen.denied]:
        raise TopicRefused(f"topics {', '.join(hidden)} may not be described by this user")
    if missing := [topic for topic in topics if topic not in seen.ids]:
        raise TopicRefused(f"topics {', '.join(missing)} do not exist")


async def log_ends(settings: Settings, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """Return the end of each partition's log, the offset of its next record, by (topic, partition).

    `topics` are full names, prefix included.
    """
    return dict((await _see_log(settings, topics)).ends)


async def topic_ids(settings: Settings, topics: Sequence[str]) -> dict[str, UUID]:
    """Return the ids of topics (full names); one that does not exist is not in the answer."""
    async with admin_client(settings) as admin:
        seen = await see_topics(admin._client, list(topics))  # noqa: SLF001 (no public way)
    return dict(seen.ids)


async def ready(settings: Settings) -> None:
    """Return when a record was produced with acks=all and read back; raise whatever prevents it."""
    topic = TopicPartition(settings.topic(READY_TOPIC), 0)
    producer = AIOKafkaProducer(
        acks="all", request_timeout_ms=REQUEST_MILLISECONDS, **access(settings)
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
        request_timeout_ms=REQUEST_MILLISECONDS,
        enable_auto_commit=False,
        auto_offset_reset="none",
        **access(settings),
    )


def _seen(task: "asyncio.Future[LogSeen]") -> None:
    """Look at a task's end, so that nobody complains that nobody did."""
    if not task.cancelled():
        task.exception()
