"""Reading the log: placed from our own table; every discontinuity is an alarm, never a skip.

The group coordinator only spreads partitions over processes. Where to read on is in Postgres, and a
partition is fetched only after it was placed: the listener pauses it, the loop seeks. Offsets are
contiguous because our topics are neither compacted nor written in transactions.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import Gauge

from services.settings import Settings
from services.topic_ids import fetch_topic_ids

POLL_MILLISECONDS = 200
POLL_RECORDS_MAX = 2_000
BACK_OFF_SECONDS = 0.5
ALARM_SECONDS = 5.0
IDENTITY_CHECK_SECONDS = 60.0
OFFSET_CHECK_SECONDS = 1.0
STALLED_SECONDS = 30.0
STOP_SECONDS = 5.0

_log = structlog.get_logger(__name__)
_lag = Gauge(
    "turnsheet_log_lag_records", "Records not yet applied", ["house", "topic", "partition"]
)
_stopped = Gauge(
    "turnsheet_log_stopped",
    "1 while a partition is stopped by an alarm",
    ["house", "topic", "partition"],
)


class Fenced(Exception):
    """Another owner has moved this partition on: what was read must not be applied."""


class Discontinuity(Exception):
    """The log is not the one we read before, or records are missing; the partition stops."""


class Batch(NamedTuple):
    """Contiguous records of one partition; `next` is the offset after the last."""

    topic: str
    partition: int
    first: int
    next: int
    records: Sequence[ConsumerRecord]


class LogState(NamedTuple):
    """What the broker says of a partition: its topic's id and where its log begins and ends."""

    topic_id: UUID
    begin: int
    end: int


class Applier(Protocol):
    """Where batches go; both raise `asyncpg` or `OSError` errors while the database is away."""

    async def place(self, topic: str, partition: int, state: LogState) -> int:
        """Return the offset to read on from. Raises `Discontinuity`."""

    async def apply(self, batch: Batch) -> None:
        """Apply a batch in one transaction with its offset. Raises `Fenced`."""

    async def offsets(self) -> Mapping[tuple[str, int], int]:
        """Return the next offset of every partition, as stored now."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Pauses what is assigned, at once and without waiting: records come before it has returned."""

    def __init__(self, reader: "_Reader") -> None:
        self._reader = reader

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        for place in revoked:
            self._reader.wanted.pop(place, None)
            self._reader.to_place.discard(place)

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        for place in assigned:
            self._reader.consumer.pause(place)
            self._reader.consumer.seek(place, 0)
            self._reader.to_place.add(place)


class _Reader:
    """One consumer's life."""

    def __init__(self, settings: Settings, house: str, topics: Sequence[str], to: Applier) -> None:
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap_servers,
            group_id=f"{settings.topic_prefix}{house}",
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=6_000,
            heartbeat_interval_ms=500,
            max_poll_interval_ms=300_000,
            request_timeout_ms=10_000,
            metadata_max_age_ms=30_000,
        )
        self._house = house
        self._topics = list(topics)
        self._to = to
        self.wanted: dict[TopicPartition, int] = {}
        self.to_place: set[TopicPartition] = set()
        self._not_before: dict[TopicPartition, float] = {}
        self._identified_at = time.monotonic()
        self._compared_at = time.monotonic()
        self._moved_at = time.monotonic()

    async def run(self, stop: asyncio.Event) -> None:
        """Read until told to stop; returns early when the client no longer delivers."""
        await self.consumer.start()
        try:
            self.consumer.subscribe(self._topics, listener=_Listener(self))
            while not stop.is_set() and not self._is_stalled():
                await self._notice_rebuild()
                await self._place_what_waits()
                try:
                    # Never cancelled: a cancelled getmany leaves the client without its watchdog.
                    polled = await self.consumer.getmany(
                        timeout_ms=POLL_MILLISECONDS, max_records=POLL_RECORDS_MAX
                    )
                except KafkaError as error:
                    _log.warning("poll_failed", house=self._house, error=type(error).__name__)
                    self.to_place |= set(self.consumer.assignment())
                    await asyncio.sleep(BACK_OFF_SECONDS)
                    continue
                for place, records in polled.items():
                    await self._apply(place, records)
        finally:
            await _stop_bounded(self.consumer)

    async def _notice_rebuild(self) -> None:
        """Place again what somebody set back while no record came to be fenced."""
        if time.monotonic() - self._compared_at < OFFSET_CHECK_SECONDS:
            return
        self._compared_at = time.monotonic()
        try:
            stored = await self._to.offsets()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            _log.warning("offsets_unknown", house=self._house, error=type(error).__name__)
            return
        for place, offset in list(self.wanted.items()):
            if stored.get((place.topic, place.partition)) != offset:
                self._hold(place, 0)

    async def _place_what_waits(self) -> None:
        now = time.monotonic()
        if now - self._identified_at > IDENTITY_CHECK_SECONDS:
            self._identified_at = now
            self.to_place |= set(self.wanted)  # placing compares the topic's id
        for place in sorted(self.to_place & set(self.consumer.assignment())):
            if self._not_before.get(place, 0) > now:
                continue
            alarm = _stopped.labels(self._house, place.topic, place.partition)
            try:
                state = await self._state(place)
                offset = await self._to.place(place.topic, place.partition, state)
            except Discontinuity as error:
                alarm.set(1)
                _log.error("partition_stopped", house=self._house, topic=place.topic,
                           partition=place.partition, reason=str(error))  # fmt: skip
                self._hold(place, ALARM_SECONDS)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, KafkaError) as error:
                _log.warning("placing_failed", house=self._house, error=type(error).__name__)
                self._hold(place, BACK_OFF_SECONDS)
            else:
                alarm.set(0)
                if place in self.to_place and place in self.consumer.assignment():
                    self.consumer.seek(place, offset)
                    self.consumer.resume(place)
                    self.wanted[place] = offset
                    self.to_place.discard(place)

    def _hold(self, place: TopicPartition, seconds: float) -> None:
        self.wanted.pop(place, None)
        if place in self.consumer.assignment():
            self.consumer.pause(place)
        self.to_place.add(place)
        self._not_before[place] = time.monotonic() + seconds

    async def _state(self, place: TopicPartition) -> LogState:
        ids = await fetch_topic_ids(self.consumer._client, [place.topic])  # noqa: SLF001 (no public way)
        if place.topic not in ids:
            raise Discontinuity("the topic does not exist")
        begin = await self.consumer.beginning_offsets([place])
        end = await self.consumer.end_offsets([place])
        return LogState(ids[place.topic], begin[place], end[place])

    async def _apply(self, place: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        wanted = self.wanted.get(place)
        if not records or wanted is None:
            return  # fetched before it was placed
        first, after = records[0].offset, records[-1].offset + 1
        batch = Batch(place.topic, place.partition, first, after, records)
        if batch.first != wanted or batch.next - batch.first != len(records):
            self._hold(place, 0)
            return
        try:
            await self._to.apply(batch)
        except Fenced:
            _log.warning("batch_fenced", house=self._house, topic=place.topic)
            self._hold(place, 0)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            _log.warning("apply_failed", house=self._house, error=type(error).__name__)
            self._hold(place, BACK_OFF_SECONDS)
        else:
            if place in self.wanted:
                self.wanted[place] = batch.next
            self._moved_at = time.monotonic()
            high = self.consumer.highwater(place) or batch.next
            _lag.labels(self._house, place.topic, place.partition).set(high - batch.next)

    def _is_stalled(self) -> bool:
        """Say whether the log goes on but nothing is delivered: only a fresh client helps."""
        behind = any((self.consumer.highwater(p) or 0) > n for p, n in self.wanted.items())
        if not behind:
            self._moved_at = time.monotonic()
        return time.monotonic() - self._moved_at > STALLED_SECONDS


async def read_log(
    settings: Settings, house: str, topics: Sequence[str], to: Applier, stop: asyncio.Event
) -> None:
    """Read topics (full names) into an applier until told to stop, whatever fails in between."""
    while not stop.is_set():
        try:
            await _Reader(settings, house, topics, to).run(stop)
        except (KafkaError, OSError) as error:
            _log.warning("reader_failed", house=house, error=type(error).__name__)
            await wait_or_stop(stop, BACK_OFF_SECONDS)


async def wait_or_stop(stop: asyncio.Event, seconds: float) -> None:
    """Wait some seconds, or less when told to stop."""
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait({waiting}, timeout=seconds)
    waiting.cancel()


async def _stop_bounded(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer; with a dead broker `stop` may hang or raise what is no Exception."""
    stopping = asyncio.ensure_future(consumer.stop())
    done, _ = await asyncio.wait({stopping}, timeout=STOP_SECONDS)
    if not done:
        stopping.cancel()
        await asyncio.wait({stopping}, timeout=1)
    elif not stopping.cancelled():
        stopping.exception()
