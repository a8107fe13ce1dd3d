"""Group commit to Kafka: many requests share a batch, and a partition has one batch under way.

Why this shape: an idempotent aiokafka producer is wedged for good by one failed batch, and several
batches under way reorder without idempotence. So acks=all, no idempotence, one outstanding batch
a partition, a deadline on everything. A batch that failed has an unknown outcome: its senders are
told so and send the same ids again; a second copy in the log is harmless.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

from services.kafka import RECORD_BYTES_MAX
from services.settings import Settings

BATCH_BYTES_MAX = 262_144
QUEUE_BYTES_MAX = 32 * 1024 * 1024
STOP_SECONDS = 5.0
RESTART_SECONDS = 0.5
_log = logging.getLogger(__name__)


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
    headers: Sequence[tuple[str, bytes]]

    @property
    def size_bytes(self) -> int:
        """The record's size in the batch, generously."""
        heads = sum(len(name) + len(value) + 8 for name, value in self.headers)
        return len(self.key) + len(self.value) + heads + 64


class Place(NamedTuple):
    """Where a record came to lie."""

    partition: int
    offset: int


class _Waiting(NamedTuple):
    record: Record
    placed: "asyncio.Future[Place]"


class _Lane:
    """The queue of one partition and the task that empties it."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.queue: deque[_Waiting] = deque()
        self.wake = asyncio.Event()


class Producer:
    """Puts records on the log; `async with` starts and stops it, `stop` is bounded."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kafka: AIOKafkaProducer | None = None
        self._partitioner = DefaultPartitioner()
        self._places: dict[tuple[str, bytes], int] = {}
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._queued_bytes = 0
        self._connected = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start connecting; a broker that is away does not keep the service from starting."""
        self._spawn(self._connect())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop within a few seconds; what is still queued fails as unknown."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes.values():
            _fail(lane.queue, OutcomeUnknown("the service is stopping"))
        if self._kafka is not None:
            await _stop_bounded(self._kafka)

    @property
    def connected(self) -> bool:
        """Say whether a broker has been reached since the start."""
        return self._kafka is not None

    async def wait_connected(self) -> None:
        """Return once a broker has been reached."""
        await self._connected.wait()

    async def produce(
        self, topic: str, records: Sequence[Record], deadline_seconds: float
    ) -> list[Place]:
        """Put records on a topic and return their places once all are durable (acks=all).

        Raises `RecordTooLarge` or `Overloaded` before anything is sent, `OutcomeUnknown` when the
        deadline passed or Kafka failed.
        """
        sizes = [record.size_bytes for record in records]
        if sizes and max(sizes) > RECORD_BYTES_MAX - 1024:
            raise RecordTooLarge(f"a record of {max(sizes)} bytes is too large for the log")
        if self._queued_bytes + sum(sizes) > QUEUE_BYTES_MAX:
            raise Overloaded("too many records wait for Kafka")
        kafka = self._kafka
        if kafka is None:
            raise OutcomeUnknown("Kafka is not reached yet")
        loop = asyncio.get_running_loop()
        waiting = []
        try:
            partitions = await asyncio.wait_for(kafka.partitions_for(topic), deadline_seconds)
        except (TimeoutError, KafkaError) as error:
            raise OutcomeUnknown("Kafka does not answer") from error
        for record in records:
            placed: asyncio.Future[Place] = loop.create_future()
            lane = self._lane(topic, self._partition(topic, record.key, sorted(partitions)))
            lane.queue.append(_Waiting(record, placed))
            lane.wake.set()
            waiting.append(placed)
        self._queued_bytes += sum(sizes)
        return await self._await_places(waiting, deadline_seconds)

    async def _await_places(
        self, waiting: "list[asyncio.Future[Place]]", deadline_seconds: float
    ) -> list[Place]:
        if not waiting:
            return []
        # `wait`, not `wait_for`: a cancelled send would be delivered all the same.
        _, late = await asyncio.wait(waiting, timeout=deadline_seconds)
        for future in late:
            future.cancel()
        if late:
            raise OutcomeUnknown("Kafka did not confirm in time")
        failed = [future.exception() for future in waiting]
        for error in failed:
            if error is not None:
                raise error
        return [future.result() for future in waiting]

    def _partition(self, topic: str, key: bytes, partitions: list[int]) -> int:
        place = self._places.get((topic, key))
        if place is None:
            place = self._partitioner(key, partitions, partitions)
            if len(self._places) < 100_000:
                self._places[topic, key] = place
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

    async def _connect(self) -> None:
        """Start a fresh client until one starts: `start` fails at once on a dead broker."""
        while True:
            kafka = AIOKafkaProducer(
                bootstrap_servers=self._settings.kafka_bootstrap_servers,
                acks="all",
                enable_idempotence=False,
                linger_ms=0,
                max_batch_size=BATCH_BYTES_MAX,
                request_timeout_ms=int(400 * self._settings.produce_deadline_seconds),
            )
            try:
                await kafka.start()
            except (KafkaError, OSError):
                await _stop_bounded(kafka)
                await asyncio.sleep(RESTART_SECONDS)
                continue
            self._kafka = kafka
            self._connected.set()
            return

    async def _empty(self, lane: _Lane) -> None:
        """Send a lane's records, one batch after the other."""
        while True:
            if not lane.queue:
                lane.wake.clear()
                await lane.wake.wait()
            kafka = self._kafka
            assert kafka is not None
            batch, sent = self._fill(kafka.create_batch(), lane.queue)
            if not sent:
                continue
            try:
                confirmed = await kafka.send_batch(batch, lane.topic, partition=lane.partition)
                metadata = await confirmed
            except KafkaError as error:
                _log.warning("batch_failed", extra={"error": type(error).__name__})
                _fail(sent, OutcomeUnknown("Kafka did not confirm"))
                continue
            except asyncio.CancelledError:
                _fail(sent, OutcomeUnknown("the service is stopping"))
                raise
            for number, item in enumerate(sent):
                if not item.placed.done():
                    item.placed.set_result(Place(lane.partition, metadata.offset + number))

    def _fill(
        self, batch: BatchBuilder, queue: deque[_Waiting]
    ) -> tuple[BatchBuilder, list[_Waiting]]:
        sent: list[_Waiting] = []
        while queue:
            item = queue[0]
            if item.placed.cancelled():  # its sender has given up before it was sent
                queue.popleft()
                self._queued_bytes -= item.record.size_bytes
                continue
            key, value, headers = item.record
            added = batch.append(key=key, value=value, timestamp=None, headers=list(headers))
            if added is None:
                break
            sent.append(queue.popleft())
            self._queued_bytes -= item.record.size_bytes
        batch.close()
        return batch, sent


def _fail(items: "deque[_Waiting] | list[_Waiting]", error: Exception) -> None:
    for item in items:
        if not item.placed.done():
            item.placed.set_exception(error)
            item.placed.exception()  # seen: its sender may be gone
    items.clear()


async def _stop_bounded(kafka: AIOKafkaProducer) -> None:
    """Stop a client; with a dead broker `stop` would hang, so its sender is ended after a while."""
    stopping = asyncio.ensure_future(kafka.stop())
    done, _ = await asyncio.wait({stopping}, timeout=STOP_SECONDS)
    if done:
        stopping.exception()
        return
    sender = kafka._sender.sender_task  # noqa: SLF001 (there is no public way)
    if sender is not None:
        sender.cancel()
    stopping.cancel()
    await asyncio.wait({stopping}, timeout=1)
    await kafka.client.close()
