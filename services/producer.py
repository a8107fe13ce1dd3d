"""Group commit to Kafka: many requests share a batch, and a partition has one batch under way.

Why this shape: an idempotent aiokafka producer is wedged for good by one failed batch, and several
batches under way reorder without idempotence. So acks=all, no idempotence, one outstanding batch
a partition, a deadline on everything. A batch that failed has an unknown outcome: its senders are
told so and send the same ids again; a second copy in the log is harmless.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import RecordMetadata
from prometheus_client import Counter, Gauge, Histogram

from services.kafka import RECORD_BYTES_MAX
from services.kafka_clients import access, find_obstacle, harden, stop_producer
from services.settings import Settings

BATCH_BYTES_MAX = 262_144
QUEUE_BYTES_MAX = 32 * 1024 * 1024
QUEUE_RECORDS_MAX = 50_000
BATCH_OVERHEAD_BYTES = 1024
PLACES_MAX = 100_000
STOP_SECONDS = 4.0
RESTART_SECONDS = 0.5

BATCHES = Counter(
    "turnsheet_produced_batches_total", "Batches sent to Kafka, by outcome.", ["topic", "outcome"]
)
RECORDS = Counter("turnsheet_produced_records_total", "Records that Kafka confirmed.", ["topic"])
BATCH_SECONDS = Histogram(
    "turnsheet_produce_seconds",
    "Seconds from sending a batch to its confirmation by all replicas.",
    ["topic"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
QUEUE_BYTES = Gauge("turnsheet_produce_queue_bytes", "Bytes that wait for a batch to Kafka.")
log = structlog.get_logger()


class Overloaded(Exception):
    """More records wait for Kafka than we keep in memory: nothing of this call was sent."""


class OutcomeUnknown(Exception):
    """Kafka did not confirm in time; the records may be in the log. Send the same ids again."""


class RecordTooLarge(Exception):
    """A record is larger than a topic takes: nothing of this call was sent."""


class Record(NamedTuple):
    """What is put on the log."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class Span(NamedTuple):
    """Where records of one call came to lie, one after the other; `offset` is the first's."""

    topic: str
    partition: int
    offset: int
    size: int


class _Call:
    """What one call puts on the log: how many of its groups are still open, and its future."""

    def __init__(self, placed: "asyncio.Future[list[Span]]") -> None:
        self.placed = placed
        self.spans: list[Span] = []
        self.open = 0


class _Group:
    """What one call puts on one partition, in its order."""

    def __init__(self, call: _Call) -> None:
        self.call = call
        self.records: list[Record] = []
        self.size_bytes = 0
        self.taken = 0  # how many are in a batch
        self.confirmed = 0

    @property
    def is_over(self) -> bool:
        """Say whether nobody waits for it any more."""
        return self.call.placed.done()


class _Part(NamedTuple):
    """As many records of a group as came into one batch."""

    group: _Group
    size: int


class _Lane:
    """The queue of one partition, and what of it is under way."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.queue: deque[_Group] = deque()
        self.sent: list[_Part] = []
        self.wake = asyncio.Event()


class Producer:
    """Puts records on the log; `async with` starts and stops it, both bounded.

    A broker that is away neither keeps a service from starting nor wedges it: the client is
    replaced by a fresh one when it no longer answers for its batches.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kafka: AIOKafkaProducer | None = None
        self._connected = asyncio.Event()
        self._broken = asyncio.Event()
        self._partitioner = DefaultPartitioner()
        self._places: dict[tuple[str, int, bytes], int] = {}
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._queued_bytes = 0
        self._queued_records = 0
        self._stopping = False

    async def __aenter__(self) -> Self:
        """Begin to connect."""
        self._spawn(self._supervise())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send what is queued, for a few seconds; the rest fails as unknown."""
        self._stopping = True
        if open_ := {g.call.placed for g in self._waiting() if not g.is_over}:
            await asyncio.wait(open_, timeout=STOP_SECONDS)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail_all("the service is stopping")
        if self._kafka is not None:
            await stop_producer(self._kafka)

    async def wait_connected(self) -> None:
        """Return once a broker has been reached."""
        await self._connected.wait()

    async def produce(
        self, topic: str, records: Sequence[Record], deadline_seconds: float
    ) -> list[Span]:
        """Put records on one topic, as `produce_all` does."""
        return await self.produce_all({topic: records}, deadline_seconds)

    async def produce_all(
        self, records: Mapping[str, Sequence[Record]], deadline_seconds: float
    ) -> list[Span]:
        """Put records on topics, by topic, and return their places once all are durable (acks=all).

        Raises `RecordTooLarge` or `Overloaded` before anything is sent, `OutcomeUnknown` when the
        deadline passed or Kafka failed: any part of them may be on the log then.
        """
        if not any(records.values()):
            return []
        kafka = self._kafka
        if kafka is None or self._stopping:
            raise OutcomeUnknown("Kafka is not reached")
        loop = asyncio.get_running_loop()
        until = loop.time() + deadline_seconds
        call = _Call(loop.create_future())
        groups: list[tuple[_Lane, _Group]] = []
        for topic, some in records.items():
            partitions = await _partitions(kafka, topic, until - loop.time())
            groups += self._group(call, topic, some, partitions)
        call.open = len(groups)
        size_bytes = sum(group.size_bytes for _, group in groups)
        count = sum(len(group.records) for _, group in groups)
        if (
            self._queued_bytes + size_bytes > QUEUE_BYTES_MAX
            or self._queued_records + count > QUEUE_RECORDS_MAX
        ):
            raise Overloaded("too many records wait for Kafka")
        for lane, group in groups:
            lane.queue.append(group)
            lane.wake.set()
        self._count(size_bytes, count)
        # failpoint producer.queued
        try:
            # Whoever stops waiting cancels the future: what is not sent yet never will be.
            async with asyncio.timeout_at(until):
                return await call.placed
        except TimeoutError:
            raise OutcomeUnknown("Kafka did not confirm in time") from None

    def _group(
        self, call: _Call, topic: str, records: Sequence[Record], partitions: list[int]
    ) -> list[tuple[_Lane, _Group]]:
        """Part records by where they belong; most of a call's have the same key and headers."""
        groups: dict[int, _Group] = {}
        of_key: dict[bytes, _Group] = {}
        measured: list[tuple[str, bytes]] | None = None
        heads = 0
        for record in records:
            key, value, headers = record
            group = of_key.get(key)
            if group is None:
                partition = self._partition(topic, key, partitions)
                group = of_key[key] = groups.setdefault(partition, _Group(call))
            if headers is not measured:
                measured, heads = headers, _size_of_heads(headers)
            size = len(key) + len(value) + heads
            if size > RECORD_BYTES_MAX - BATCH_OVERHEAD_BYTES:
                raise RecordTooLarge(f"a record of {size} bytes is too large for the log")
            group.size_bytes += size
            group.records.append(record)
        return [(self._lane(topic, partition), group) for partition, group in groups.items()]

    def _count(self, size_bytes: int, records: int) -> None:
        self._queued_bytes += size_bytes
        self._queued_records += records
        QUEUE_BYTES.inc(size_bytes)

    def _partition(self, topic: str, key: bytes, partitions: list[int]) -> int:
        known = (topic, len(partitions), key)
        place = self._places.get(known)
        if place is None:
            place = self._partitioner(key, partitions, partitions)
            if len(self._places) < PLACES_MAX:
                self._places[known] = place
        return place

    def _lane(self, topic: str, partition: int) -> _Lane:
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = _Lane(topic, partition)
            self._spawn(self._empty(lane))
        return lane

    def _spawn(self, coroutine: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _supervise(self) -> None:
        """Keep a client that works, a fresh one for each that does not."""
        while True:
            kafka = await self._connect()
            self._kafka = kafka
            self._broken.clear()
            self._connected.set()
            await self._broken.wait()
            self._kafka = None
            self._connected.clear()
            self._fail_queued("Kafka does not answer")
            log.warning("producer_replaced")
            self._spawn(stop_producer(kafka))

    async def _connect(self) -> AIOKafkaProducer:
        """Start fresh clients until one starts: `start` fails at once on a dead broker."""
        while True:
            kafka = AIOKafkaProducer(
                acks="all",
                enable_idempotence=False,
                linger_ms=0,
                max_batch_size=BATCH_BYTES_MAX,
                request_timeout_ms=int(400 * self._settings.produce_deadline_seconds),
                **access(self._settings),
            )
            harden(kafka.client)
            try:
                await kafka.start()
            except (KafkaError, OSError) as error:
                await stop_producer(kafka)
                obstacle = await find_obstacle(self._settings)
                log.warning("producer_unconnected", error=type(error).__name__, why=str(obstacle))
                await asyncio.sleep(RESTART_SECONDS)
            except asyncio.CancelledError:
                await stop_producer(kafka)
                raise
            else:
                return kafka

    async def _empty(self, lane: _Lane) -> None:
        """Send a lane's records, one batch after the other, for as long as the producer lives."""
        while True:
            await self._connected.wait()
            kafka = self._kafka
            if not lane.queue or kafka is None:
                lane.wake.clear()
                await lane.wake.wait()
                continue
            batch = kafka.create_batch()
            self._fill(batch, lane)
            if not lane.sent:
                continue
            # failpoint producer.filled
            started = asyncio.get_running_loop().time()
            confirmed = await self._send(kafka, lane, batch)
            if confirmed is None:
                BATCHES.labels(lane.topic, "failed").inc()
                _fail((part.group for part in lane.sent), "Kafka did not confirm")
            else:
                BATCHES.labels(lane.topic, "confirmed").inc()
                RECORDS.labels(lane.topic).inc(sum(part.size for part in lane.sent))
                BATCH_SECONDS.labels(lane.topic).observe(
                    asyncio.get_running_loop().time() - started
                )
                # failpoint producer.confirmed
                _resolve(lane, confirmed.offset)
            lane.sent = []

    async def _send(
        self, kafka: AIOKafkaProducer, lane: _Lane, batch: Any
    ) -> RecordMetadata | None:
        """Send a batch and wait for all replicas; None when it failed or nothing was heard."""

        async def deliver() -> RecordMetadata:
            return await (await kafka.send_batch(batch, lane.topic, partition=lane.partition))

        # Not `wait_for`: a cancelled send is delivered all the same, and its client lives on.
        delivery = asyncio.ensure_future(deliver())
        delivery.add_done_callback(_seen)
        try:
            await asyncio.wait({delivery}, timeout=self._settings.produce_deadline_seconds)
        finally:
            if not delivery.done():
                delivery.cancel()
                self._give_up(kafka)
        if not delivery.done() or delivery.cancelled():
            log.warning("batch_unresolved", topic=lane.topic, calls=len(lane.sent))
            return None
        error = delivery.exception()
        if error is None:
            return delivery.result()
        if not isinstance(error, KafkaError):
            self._give_up(kafka)
        sender = kafka._sender.sender_task  # noqa: SLF001 (there is no public way)
        if sender is None or sender.done():
            self._give_up(kafka)
        log.warning("batch_failed", topic=lane.topic, error=type(error).__name__)
        return None

    def _give_up(self, kafka: AIOKafkaProducer) -> None:
        """Have a client replaced, once: its last batches fail when its successor works already."""
        if kafka is self._kafka:
            self._broken.set()

    def _fill(self, batch: Any, lane: _Lane) -> None:
        """Move what fits from the queue into a batch; what nobody waits for any more is dropped."""
        lane.sent = []
        now_ms = time.time_ns() // 1_000_000
        while lane.queue:
            group = lane.queue[0]
            fitted = 0 if group.is_over else _append(batch, group, now_ms)
            if fitted:
                lane.sent.append(_Part(group, fitted))
                group.taken += fitted
            if not group.is_over and group.taken < len(group.records):
                break
            lane.queue.popleft()
            self._count(-group.size_bytes, -len(group.records))
        batch.close()

    def _waiting(self) -> Iterable[_Group]:
        for lane in self._lanes.values():
            yield from (part.group for part in lane.sent)
            yield from lane.queue

    def _fail_queued(self, words: str) -> None:
        for lane in self._lanes.values():
            for group in lane.queue:
                self._count(-group.size_bytes, -len(group.records))
            _fail(lane.queue, words)
            lane.queue.clear()

    def _fail_all(self, words: str) -> None:
        self._fail_queued(words)
        for lane in self._lanes.values():
            _fail((part.group for part in lane.sent), words)


def _size_of_heads(headers: list[tuple[str, bytes]]) -> int:
    """Return what a record needs beside key and value, generously."""
    return sum(len(name) + len(text) + 8 for name, text in headers) + 64


def _append(batch: Any, group: _Group, now_ms: int) -> int:
    """Append the records of a group that are in no batch yet; return how many fitted."""
    append = batch.append
    for fitted, (key, value, headers) in enumerate(islice(group.records, group.taken, None)):
        if append(key=key, value=value, timestamp=now_ms, headers=headers) is None:
            return fitted
    return len(group.records) - group.taken


async def _partitions(kafka: AIOKafkaProducer, topic: str, seconds: float) -> list[int]:
    """Return a topic's partitions; the first time a broker is asked."""
    found = kafka.client.cluster.partitions_for_topic(topic)
    if found is None:
        asking = asyncio.ensure_future(kafka.partitions_for(topic))
        asking.add_done_callback(_seen)
        await asyncio.wait({asking}, timeout=seconds)
        if not asking.done() or asking.cancelled() or asking.exception() is not None:
            raise OutcomeUnknown("Kafka does not say where the topic lies")
        found = asking.result()
    return sorted(found)


def _resolve(lane: _Lane, offset: int) -> None:
    """Tell each call where its part of the batch lies, and its caller once all of it does."""
    for group, size in lane.sent:
        call = group.call
        call.spans.append(Span(lane.topic, lane.partition, offset, size))
        offset += size
        group.confirmed += size
        if group.confirmed == len(group.records):
            call.open -= 1
            if not call.open and not call.placed.done():
                call.placed.set_result(call.spans)


def _fail(groups: Iterable[_Group], words: str) -> None:
    for group in groups:
        if not group.is_over:
            group.call.placed.set_exception(OutcomeUnknown(words))
            group.call.placed.exception()  # seen: its sender may be gone


def _seen(task: "asyncio.Future[Any]") -> None:
    """Look at a task's end, so that nobody complains that nobody did."""
    if not task.cancelled():
        task.exception()
