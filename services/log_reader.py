"""Reading the log: placed from our own table; every discontinuity is an alarm, never a skip.

The group coordinator only spreads partitions over processes. Where to read on is in Postgres, and a
partition is fetched only after it was placed: the listener pauses it, the loop seeks. Offsets are
contiguous because our topics are neither compacted nor written in transactions. Whatever fails, the
partition is held for a moment and placed again: what Postgres says is where it goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)
from prometheus_client import Counter

from services.kafka_clients import (
    access,
    avoid_silent,
    find_obstacle,
    harden,
    has_left,
    stop_consumer,
    tell_disconnected,
)
from services.log_applying import (
    NO_TOPIC,
    Applier,
    Batch,
    Discontinuity,
    Fenced,
    LogState,
    digest_of,
)
from services.log_cuts import Cut, Placed, cut_of
from services.log_health import NO_GROUP, Health
from services.log_holds import LAG, Holds, named
from services.postgres import STORE_ERRORS
from services.settings import Settings
from services.topic_ids import TopicsSeen, see_topics

POLL_MILLISECONDS = 200
POLL_RECORDS_MAX = 2_000
POLL_RECORDS_MIN = 16
POLL_LOOK_SECONDS = 1.0
FETCH_MILLISECONDS = 200
METADATA_MILLISECONDS = 10_000
REQUEST_MILLISECONDS = 10_000  # for so long a node that stands still is waited for
FETCH_BYTES_MAX = 2 * 1_048_576
ERROR_SECONDS = 0.5
WATCH_SECONDS = 5.0
IDENTITY_SECONDS = 60.0
STALLED_SECONDS = 30.0
COMPARE_SECONDS = 2.0
DISPLAY_SECONDS = 1.0

DENIED = "the topic may not be read"
STALLS = Counter(
    "turnsheet_log_stalls_total", "Clients replaced: they went silent, or left.", ["house"]
)
log = structlog.get_logger()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Pauses what is assigned, at once and without waiting: records come before it has returned."""

    def __init__(self, reader: "_Reader") -> None:
        self._reader = reader

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        for place in revoked:
            self._reader.release(place)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._reader.joined = True
        self._reader.holds.release_others(set(assigned))
        for place in assigned:
            self._reader.forget(place)
            self._reader.consumer.pause(place)
            self._reader.consumer.seek(place, 0)  # a placeholder: nothing is fetched while paused


class _Reader:
    """One client's life; a fresh one follows it when it goes silent."""

    def __init__(
        self,
        settings: Settings,
        house: str,
        topics: Sequence[str],
        to: Applier,
        stop: asyncio.Event,
        health: Health,
    ) -> None:
        self.consumer = AIOKafkaConsumer(
            group_id=f"{settings.topic_prefix}{house}",
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=int(1000 * settings.consumer_session_seconds),
            heartbeat_interval_ms=500,
            request_timeout_ms=REQUEST_MILLISECONDS,
            metadata_max_age_ms=METADATA_MILLISECONDS,
            fetch_max_wait_ms=FETCH_MILLISECONDS,
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            **access(settings),
        )
        harden(self.consumer._client)  # noqa: SLF001 (there is no public way)
        avoid_silent(self.consumer._client)  # noqa: SLF001 (likewise)
        tell_disconnected(self.consumer._client, self._disconnected)  # noqa: SLF001 (likewise)
        self.joined = False
        self._house = house
        self._topics = list(topics)
        self._to = to
        self._stop = stop
        self._stopping = asyncio.ensure_future(stop.wait())
        self._health = health
        self._loop = asyncio.get_running_loop()
        self._placed: dict[TopicPartition, Placed] = {}
        self._moved_at: dict[TopicPartition, float] = {}
        self.holds = Holds(house, health)
        self._background: dict[str, asyncio.Task[None]] = {}
        self._identified_at = -IDENTITY_SECONDS
        self._compared_at = self._loop.time()
        self._stalled = False
        self._records_max = POLL_RECORDS_MAX  # of a poll: less where transactions take too long

    async def run(self) -> None:
        """Read until told to stop; returns early when the client no longer delivers."""
        polling: asyncio.Task[Any] | None = None
        try:
            await self.consumer.start()
            self.consumer.subscribe(self._topics, listener=_Listener(self))
            while not self._stop.is_set() and not self._stalled:
                await self._compare()
                await self._place_assigned()
                self._every("watch", WATCH_SECONDS, self._watch)
                self._every("display", DISPLAY_SECONDS, self._display)
                # A poll waits for as long as a rebalance takes and must never be cancelled: that
                # leaves the client without its own watchdog. So it goes on while we look around.
                polling = polling or asyncio.ensure_future(self._poll())
                await asyncio.wait(
                    {polling, self._stopping},
                    timeout=POLL_LOOK_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if polling.done():
                    polled, polling = polling.result(), None
                    await self._apply_all(polled)
        finally:
            await self._leave([polling] if polling else [])

    def forget(self, place: TopicPartition) -> None:
        """Know nothing of a partition any more: it is to be placed."""
        self._placed.pop(place, None)
        self.holds.forget(place)

    def release(self, place: TopicPartition) -> None:
        """Leave a partition to its next owner."""
        self.forget(place)
        self.holds.release(place)

    async def _poll(self) -> Mapping[TopicPartition, Sequence[ConsumerRecord]]:
        try:
            polled: Mapping[TopicPartition, Sequence[ConsumerRecord]] = await self.consumer.getmany(
                timeout_ms=POLL_MILLISECONDS, max_records=self._records_max
            )
        except (KafkaError, ValueError) as error:
            log.warning("poll_failed", house=self._house, error=type(error).__name__)
            self._hold_failed(error)
            if has_left(self.consumer):
                self._replace("reader_left")
            await asyncio.sleep(ERROR_SECONDS)
            return {}
        read = {place for place, placed in self._placed.items() if placed.last_digest is None}
        if self.joined and self.consumer.assignment() <= read:
            self._health.read_at = self._loop.time()
        self._health.alarms.pop(NO_GROUP, None)
        return polled

    def _hold_failed(self, error: KafkaError | ValueError) -> None:
        """Hold what a poll failed for; where it does not say what that was, everything."""
        if isinstance(error, TopicAuthorizationFailedError):
            for place in [place for place in self._placed if place.topic in error.args]:
                self._hold(place, "denied", DENIED)
        elif isinstance(error, OffsetOutOfRangeError):
            for place in self._placed.keys() & error.args[0].keys():
                self._hold(place, "poll_failed")
        else:
            if isinstance(error, GroupAuthorizationFailedError):
                self._health.alarms[NO_GROUP] = "the group may not be joined"
            for place in list(self._placed):
                self._hold(place, "poll_failed")

    def _disconnected(self, conn: AIOKafkaConnection) -> None:
        """Place again what a broker led: it may come back with less, and be written on."""
        cluster = self.consumer._client.cluster  # noqa: SLF001 (there is no public way)
        for place in list(self._placed):
            broker = cluster.broker_metadata(cluster.leader_for_partition(place))
            if broker is None or (broker.host, broker.port) == (conn.host, conn.port):
                self._hold(place, "disconnected")

    # Placing

    async def _place_assigned(self) -> None:
        """Place what is assigned and not held, or give it up when told to stop."""
        waiting = sorted(
            place
            for place in self.consumer.assignment() - self._placed.keys()
            if not self.holds.is_held(place, self._loop.time())
        )
        if not waiting:
            return
        placing = asyncio.ensure_future(self._place(waiting))
        await asyncio.wait({placing, self._stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not placing.done():
            placing.cancel()
            await asyncio.gather(placing, return_exceptions=True)
        else:
            placing.result()

    async def _place(self, waiting: Sequence[TopicPartition]) -> None:
        """Ask the broker about all at once: its answers wait behind a fetch that is under way.

        Of a topic that is missing or denied nothing is asked: there the client would wait long.
        """
        try:
            seen = await self._see_topics()
            known = [place for place in waiting if place.topic in seen.ids]
            begins = await self.consumer.beginning_offsets(known) if known else {}
            ends = await self.consumer.end_offsets(known) if known else {}
        except KafkaError as error:
            for place in waiting:
                self._hold(place, "kafka", cause=error)
            return
        placed: dict[TopicPartition, Placed] = {}
        for place in waiting:
            if place.topic in seen.denied:
                self._hold(place, "denied", DENIED)
                continue
            topic_id = seen.ids.get(place.topic, NO_TOPIC)
            try:
                state = LogState(topic_id, begins.get(place, 0), ends.get(place, 0))
                found = await self._to.place(place.topic, place.partition, state)
                there = found.next > state.begin  # else the record before is gone, lawfully
                digest = found.last_digest if there else None
                placed[place] = Placed(found.next, state.topic_id, digest)
            except Discontinuity as error:
                self._hold(place, "discontinuity", str(error))
            except STORE_ERRORS as error:
                self._hold(place, "store", cause=error)
        # failpoint reader.placed
        for place, begun in placed.items():
            self._begin(place, begun)

    async def _compare(self) -> None:
        """Place again what is no longer where we left it: somebody asked for a rebuild."""
        if self._loop.time() - self._compared_at < COMPARE_SECONDS:
            return
        self._compared_at = self._loop.time()
        try:
            offsets = await self._to.offsets()
        except STORE_ERRORS as error:
            log.warning("look_failed", house=self._house, error=type(error).__name__)
            return
        for place, placed in list(self._placed.items()):
            if offsets.get((place.topic, place.partition)) != placed.next:
                self._hold(place, "moved")

    async def _see_topics(self) -> TopicsSeen:
        return await see_topics(self.consumer._client, self._topics)  # noqa: SLF001 (no public way)

    def _begin(self, place: TopicPartition, placed: Placed) -> None:
        """Fetch from here on. A rebalance meanwhile may have left a stale offset: see the fence."""
        try:
            self.consumer.seek(place, placed.wanted)
            self.consumer.resume(place)
        except IllegalStateError:
            return  # no longer ours
        self._placed[place] = placed
        self._moved_at[place] = self._loop.time()
        if placed.last_digest is None:
            self.holds.end_alarm(place)

    def _recognise(self, place: TopicPartition, placed: Placed, record: ConsumerRecord) -> bool:
        """Compare the record before the next one with the one that was applied."""
        if digest_of(record) != placed.last_digest:
            words = f"record {record.offset} is not the one that was applied"
            self._hold(place, "discontinuity", words)
            return False
        self._placed[place] = placed._replace(last_digest=None)
        self.holds.end_alarm(place)
        return True

    def _hold(
        self,
        place: TopicPartition,
        reason: str,
        alarm: str | None = None,
        *,
        cause: BaseException | None = None,
    ) -> None:
        """Pause a partition, and place it again after a while."""
        self._placed.pop(place, None)
        if place in self.consumer.assignment():
            self.consumer.pause(place)
        self.holds.hold(place, reason, self._loop.time(), alarm, cause=cause)

    # Applying

    async def _apply_all(self, polled: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        """Apply a poll, topic by topic in the order they were named in: the directory first.

        What a topic's partitions bring is applied together, for each transaction takes its time.
        """
        for topic in self._topics:
            places = sorted(place for place in polled if place.topic == topic)
            cuts = {place: self._cut(place, polled[place]) for place in places}
            await self._apply_batches([cut.batch for cut in cuts.values() if cut.batch])
            for place, cut in cuts.items():
                if cut.gap is not None and place in self._placed:
                    self._hold(place, "gap", self.holds.gap_alarm(place, *cut.gap))

    def _cut(self, place: TopicPartition, records: Sequence[ConsumerRecord]) -> Cut:
        """Cut what was delivered where it is not what was wanted."""
        placed = self._placed.get(place)
        if placed is None:
            return Cut()  # fetched before it was placed, or after it was held
        cut = cut_of(place, placed, records)
        if cut.before is not None and not self._recognise(place, placed, cut.before):
            return Cut()
        return cut

    async def _apply_batches(self, batches: Sequence[Batch]) -> None:
        """Apply batches of one topic together; where that fails each alone, to see which it is."""
        if len(batches) > 1 and await self._try(batches) is None:
            return
        for batch in batches:
            error = await self._try([batch])
            if error is not None:
                reason = "fenced" if isinstance(error, Fenced) else "store"
                self._hold(TopicPartition(batch.topic, batch.partition), reason, cause=error)

    async def _try(self, batches: Sequence[Batch]) -> Exception | None:
        """Apply batches in one transaction and go on behind them, or return what forbade it."""
        try:
            await self._to.apply(batches)
        except (Fenced, *STORE_ERRORS) as error:
            if not isinstance(error, Fenced | OSError):  # Postgres ended what took so long
                records = sum(len(batch.records) for batch in batches)
                self._records_max = max(POLL_RECORDS_MIN, min(self._records_max, records) // 2)
            return error
        for batch in batches:
            self._go_on(batch)
        return None

    def _go_on(self, batch: Batch) -> None:
        """Want the record after a batch that was applied."""
        # failpoint reader.applied
        place = TopicPartition(batch.topic, batch.partition)
        self._records_max = min(POLL_RECORDS_MAX, self._records_max * 5 // 4)
        self.holds.went_on(place)
        self._moved_at[place] = self._loop.time()
        placed = self._placed.get(place)
        # Where it was placed anew meanwhile, what Postgres said then is where it goes on.
        if placed and (placed.next, placed.last_digest) == (batch.first, None):
            self._placed[place] = placed._replace(next=batch.next)

    # Looking around

    def _every(self, name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Have some work done beside the reading, once in a while and never twice at a time."""
        task = self._background.get(name)
        if task is None or task.done():
            self._background[name] = asyncio.ensure_future(self._after(seconds, work))

    async def _after(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(seconds)
        try:
            await work()
        except KafkaError as error:
            log.warning("look_failed", house=self._house, error=type(error).__name__)

    async def _watch(self) -> None:
        """Find a topic that was replaced and a client that has gone silent; measure the lag."""
        now = self._loop.time()
        if now - self._identified_at >= IDENTITY_SECONDS:
            self._identified_at = now
            await self._identify()
        watched = list(self._placed)
        ends = await self.consumer.end_offsets(watched) if watched else {}
        for place, end in ends.items():
            found = self._placed.get(place)
            if found is None:
                continue
            LAG.labels(self._house, *place).set(max(0, end - found.next))
            if end <= found.next:
                self._moved_at[place] = now
            elif now - self._moved_at[place] > STALLED_SECONDS:
                self._replace("reader_stalled", **named(place))

    def _replace(self, event: str, **where: Any) -> None:
        """Have a fresh client follow this one."""
        log.error(event, house=self._house, **where)
        STALLS.labels(self._house).inc()
        self._stalled = True

    async def _identify(self) -> None:
        """Compare the topics with those that we began to read; a missing one has no partition."""
        seen = await self._see_topics()
        for place, placed in list(self._placed.items()):
            if place.topic in seen.denied:
                self._hold(place, "denied", DENIED)
            elif seen.ids.get(place.topic) != placed.topic_id:
                self._hold(place, "discontinuity", "the topic was deleted or made again")
        for topic in self._topics:
            nowhere = TopicPartition(topic, -1)
            if topic in seen.ids:
                self._health.alarms.pop(nowhere, None)
            elif nowhere not in self._health.alarms:
                words = DENIED if topic in seen.denied else "the topic does not exist"
                self._health.alarms[nowhere] = words
                log.error("topic_missing", house=self._house, topic=topic, reason=words)

    async def _display(self) -> None:
        """Tell Kafka how far we are: its tools show a group's lag by it, nothing relies on it."""
        offsets = {place: placed.next for place, placed in self._placed.items() if placed.next}
        if offsets:
            try:
                await self.consumer.commit(offsets)
            except IllegalStateError:
                return  # a rebalance took one of them meanwhile

    async def _leave(self, tasks: Sequence[asyncio.Future[Any]]) -> None:
        """End what goes on beside, and leave the group."""
        beside = [self._stopping, *tasks, *self._background.values()]
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await stop_consumer(self.consumer)


async def read_log(
    settings: Settings,
    house: str,
    topics: Sequence[str],
    to: Applier,
    stop: asyncio.Event,
    health: Health,
) -> None:
    """Read topics (full names) into an applier until told to stop, whatever fails in between."""
    while not stop.is_set():
        try:
            await _Reader(settings, house, topics, to, stop, health).run()
        except (KafkaError, OSError) as error:
            unreached = isinstance(error, KafkaConnectionError)
            why = str(await find_obstacle(settings)) if unreached else None
            log.warning("reader_failed", house=house, error=type(error).__name__, why=why)
            await wait_or_stop(ERROR_SECONDS, stop)


async def wait_or_stop(seconds: float, *events: asyncio.Event) -> None:
    """Wait some seconds, or less when one of the events is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
