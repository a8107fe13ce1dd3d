"""The consumer's rows: events a second from Kafka into Postgres, beside the parts it is made of."""

import asyncio
import json
import secrets
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from services.billing.consumer import READING as BILLING
from services.consuming import Applying
from services.directories import DIRECTORY_KINDS
from services.folding import SQL, Reading, load_offsets
from services.kafka import ensure_topics, log_ends
from services.log_applying import Batch
from services.log_facts import advance, append_facts, columns
from services.log_health import Health
from services.log_reader import read_log
from services.log_records import Parked, fact_row, read_record
from services.metrics.consumer import READING as METRICS
from services.postgres import connect
from services.producer import BATCH_BYTES_MAX, Producer, Record
from services.settings import Settings
from tests.bench.ground import PEERS, Ground
from tests.bench.multiply import empty
from tests.bench.report import Figure, combined, compare, turned
from tests.bench.workload import month
from tests.log import put_sent

UNIT = "events/s"
POLL = 2_000
TOPICS_OF_WORK = ("task-events", "time-events")
BODY = b"x" * 330
HEADERS = [("content-type", b"application/cloudevents+json"), ("principal", b"tracker:as-1")]


class Timed(Applying):
    """The consumer's own applier, with a watch: from its first poll's effects to its last one's."""

    def __init__(self, settings: Settings, reading: Reading) -> None:
        super().__init__(settings, reading, asyncio.Event())
        self.began = 0.0
        self.ended = 0.0
        self.records = 0

    async def apply(self, batches: Sequence[Batch]) -> None:
        """Apply batches and look at the watch."""
        self.began = self.began or time.perf_counter()
        await self._do(batches)
        self.ended = time.perf_counter()
        self.records += sum(len(batch.records) for batch in batches)

    async def _do(self, batches: Sequence[Batch]) -> None:
        await super().apply(batches)


class FactsOnly(Timed):
    """Writes facts with their offset, and folds nothing."""

    async def _do(self, batches: Sequence[Batch]) -> None:
        async with self._connection() as conn, conn.transaction():
            await advance(conn, batches)
            await append_facts(conn, self._reading.kinds | DIRECTORY_KINDS, batches)


async def write(conn: Any, batch: Batch, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write one poll's facts behind the fence."""
    async with conn.transaction():
        await advance(conn, [batch])
        await conn.execute(SQL.insert_facts, *columns(rows))


class Sizes(NamedTuple):
    """How much lies on each topic."""

    directory: int
    work: int


def run(ground: Ground) -> Iterator[Figure]:
    """Measure parts, wholes and peers on the same log."""
    settings = ground.settings.model_copy(
        update={"topic_prefix": f"{ground.settings.topic_prefix}sink."}
    )
    sizes = asyncio.run(_fill(ground, settings))
    rates: dict[str, list[float]] = {}
    measures: dict[str, Callable[[], Coroutine[Any, Any, float]]] = {
        "fetch": lambda: _fetch_only(settings, sizes),
        "decode": lambda: _decode_only(settings, sizes),
        "write": lambda: _write_only(settings, sizes),
        "facts": lambda: _consume(settings, METRICS, FactsOnly, sizes.work),
        "metrics": lambda: _consume(settings, METRICS, Timed, sizes.work),
        "billing": lambda: _consume(settings, BILLING, Timed, None),
    }
    peers = _peers(ground, settings, sizes)
    for number in range(ground.rounds):
        for name in turned([*measures, *peers], number):
            ground.say(f"sink: {name}, round {number + 1} of {ground.rounds}")
            rate = asyncio.run(measures[name]()) if name in measures else peers[name]()
            rates.setdefault(name, []).append(rate)
    yield from _figures(rates)
    yield from asyncio.run(_bulk(ground, settings))
    yield from asyncio.run(_commits(ground, settings))


def _figures(rates: dict[str, list[float]]) -> Iterator[Figure]:
    ceiling = combined(rates["decode"], rates["write"], rates["fetch"])
    for name, what, goal in (
        ("facts", "facts from Kafka", 0.60),
        ("metrics", "the whole consumer of metrics", 0.40),
        ("billing", "the whole consumer of billing", 0.40),
    ):
        yield compare("sink", what, UNIT, rates[name], "S: decode, write, fetch", ceiling, goal)
    for name, goal in (("faststream_batch", 0.9), ("quix_batch", 1.5), ("bytewax_batch", 1.5)):
        if name in rates:
            yield compare("sink", "facts from Kafka", UNIT, rates["facts"], name, rates[name], goal)
    for name in ("fetch", "decode", "write"):
        middle = sorted(rates[name])[len(rates[name]) // 2]
        yield Figure("sink", f"part: {name} only", UNIT, middle)


async def _fill(ground: Ground, settings: Settings) -> Sizes:
    """Put a month on topics of its own."""
    await ensure_topics(settings)
    work = month(2 if ground.quick else 12)
    await put_sent(settings, [*work.directory, *work.events])
    return Sizes(len(work.directory), len(work.events))


def _work_topics(settings: Settings) -> list[str]:
    return [settings.topic(name) for name in TOPICS_OF_WORK]


async def _fetch(settings: Settings, count: int) -> tuple[list[ConsumerRecord], float]:
    """Read all work from the log as the house's client does, and say how long it took."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=2 * 1_048_576,
        fetch_max_wait_ms=200,
    )
    await consumer.start()
    try:
        places = [
            TopicPartition(topic, number)
            for topic in _work_topics(settings)
            for number in range(settings.topic_partitions)
        ]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        found: list[ConsumerRecord] = []
        began = 0.0
        while len(found) < count:
            polled = await consumer.getmany(timeout_ms=200, max_records=POLL)
            began = began or time.perf_counter()
            for records in polled.values():
                found.extend(records)
        return found, time.perf_counter() - began
    finally:
        await consumer.stop()


async def _fetch_only(settings: Settings, sizes: Sizes) -> float:
    records, seconds = await _fetch(settings, sizes.work)
    return len(records) / seconds


async def _decode_only(settings: Settings, sizes: Sizes) -> float:
    records, _ = await _fetch(settings, sizes.work)
    began = time.perf_counter()
    read = [read_record(one) for one in records]
    seconds = time.perf_counter() - began
    assert not any(isinstance(one, Parked) for one in read), "every event can be read"
    return len(records) / seconds


async def _write_only(settings: Settings, sizes: Sizes) -> float:
    """Write rows that are made already, in polls as large as the consumer's."""
    records, _ = await _fetch(settings, sizes.work)
    batches: dict[tuple[str, int], list[ConsumerRecord]] = {}
    for one in records:
        batches.setdefault((one.topic, one.partition), []).append(one)
    conn = await _emptied(settings, METRICS)
    topic_id = "00000000-0000-0000-0000-000000000001"
    seconds = 0.0
    try:
        for (topic, partition), found in batches.items():
            await conn.execute(SQL.insert_offset, topic, partition, topic_id)
            for first in range(0, len(found), POLL):
                part = found[first : first + POLL]
                rows = [fact_row(read_record(one), one.value) for one in part]  # type: ignore[arg-type]  # (none is parked)
                batch = Batch(topic, partition, topic_id, first, first + len(part), part)  # type: ignore[arg-type]  # (asyncpg takes the text)
                began = time.perf_counter()
                await write(conn, batch, rows)
                seconds += time.perf_counter() - began
        await _check_facts(conn, sizes.work)
    finally:
        await conn.close()
    return sizes.work / seconds


async def _emptied(settings: Settings, reading: Reading) -> Any:
    """Empty a house's tables and return a consumer's way into them."""
    await empty(settings, reading.house)
    return await connect(settings, reading.house, "writer")


async def _check_facts(conn: Any, at_least: int) -> None:
    found = await conn.fetchval(
        "select count(*) from fact where kind in ('task', 'entry', 'escalation')"
    )
    if found < at_least:
        raise RuntimeError(f"{found} facts of {at_least} were written")


async def _consume(
    settings: Settings, reading: Reading, how: type[Timed], count: int | None
) -> float:
    """Run a house's consumer over the whole log: the directory first, then its work, timed."""
    conn = await _emptied(settings, reading)
    own = settings.model_copy(
        update={"topic_prefix": settings.topic_prefix, "consumer_session_seconds": 6.0}
    )
    directory = [own.topic("directory")]
    await _read_until_even(own, reading, Timed(own, reading), directory, conn)
    applier = how(own, reading)
    topics = [own.topic(name) for name in reading.topics]
    await _read_until_even(own, reading, applier, topics, conn)
    if count is not None:
        await _check_facts(conn, count)
    await conn.close()
    return applier.records / (applier.ended - applier.began)


async def _read_until_even(
    settings: Settings, reading: Reading, applier: Timed, topics: list[str], conn: Any
) -> None:
    """Read topics to their present ends."""
    ends = await log_ends(settings, topics)
    stop = asyncio.Event()
    reading_on = asyncio.create_task(
        read_log(
            settings, f"{reading.house}-{secrets.token_hex(4)}", topics, applier, stop, Health()
        )
    )
    while not await _is_even(conn, ends):
        if reading_on.done():
            await reading_on  # raises what has ended it
        await asyncio.sleep(0.05)
    stop.set()
    await reading_on
    await applier.close()


async def _is_even(conn: Any, ends: dict[tuple[str, int], int]) -> bool:
    offsets = await load_offsets(conn)
    return all(offsets.get(place, 0) >= end for place, end in ends.items())


# Peers


def _peers(ground: Ground, settings: Settings, sizes: Sizes) -> dict[str, Callable[[], float]]:
    if not ground.peers.exists():
        ground.absent.append("sink's peers: they have no environment")
        return {}

    def run_peer(name: str) -> Callable[[], float]:
        def once() -> float:
            asyncio.run(_empty_table(settings))
            done = subprocess.run(
                [
                    str(ground.peers), str(PEERS / f"{name}.py"),
                    "--kafka", settings.kafka_bootstrap_servers,
                    "--database", settings.database_url,
                    "--group", f"peer-{secrets.token_hex(4)}",
                    "--count", str(sizes.work),
                    "--topics", *_work_topics(settings),
                ],
                cwd=settings.home, capture_output=True, text=True, check=False, timeout=120,
            )  # fmt: skip
            if done.returncode != 0:
                raise RuntimeError(f"{name} failed: {done.stderr[-1500:]}")
            told = json.loads(done.stdout.strip().splitlines()[-1])
            if told["count"] < sizes.work:
                raise RuntimeError(f"{name} wrote {told['count']} of {sizes.work}")
            return float(told["count"] / told["seconds"])

        return once

    return {name: run_peer(name) for name in ("faststream_batch", "quix_batch", "bytewax_batch")}


async def _empty_table(settings: Settings) -> None:
    """Make the peers' table: the columns and indexes of ours, without its policies."""
    conn = await asyncpg.connect(settings.database_url)
    await conn.execute(
        "create schema if not exists bench;"
        "create table if not exists bench.fact (like metrics.fact including all);"
        "truncate bench.fact"
    )
    await conn.close()


# Bulk writes and group commit


async def _bulk(ground: Ground, settings: Settings) -> Iterator[Figure]:
    """Compare our insert with COPY into the same table."""
    count = 2_000 if ground.quick else 20_000
    records, _ = await _fetch(settings, min(count, 2_000))
    first = [fact_row(read_record(one), one.value) for one in records]  # type: ignore[arg-type]  # (none is parked)
    rows = [
        (*row[:3], number, *row[4:])
        for number in range(count)
        for row in [first[number % len(first)]]
    ]
    owner = await asyncpg.connect(settings.database_url, server_settings={"search_path": "metrics"})
    names = [column.split()[0] for column in _fact_columns()]
    rates: dict[tuple[str, int], list[float]] = {}
    for number in range(ground.rounds):
        ground.say(f"sink: bulk writes, round {number + 1} of {ground.rounds}")
        for size in (1_000, 5_000):
            for how in turned(["insert", "copy"], number):
                conn = await _emptied(settings, METRICS)
                began = time.perf_counter()
                for start in range(0, count, size):
                    part = rows[start : start + size]
                    if how == "insert":
                        async with conn.transaction():
                            await conn.execute(SQL.insert_facts, *columns(part))
                    else:
                        await owner.copy_records_to_table("fact", records=part, columns=names)
                rates.setdefault((how, size), []).append(count / (time.perf_counter() - began))
                await _check_facts(conn, count)
                await conn.close()
    await owner.close()
    return iter(
        [
            compare(
                "sink", f"insert of {size:,} facts", "rows/s", rates["insert", size],
                "COPY into the same table", rates["copy", size], goal,
            )
            for size, goal in ((1_000, 0.55), (5_000, 0.75))
        ]
    )  # fmt: skip


def _fact_columns() -> tuple[str, ...]:
    return (
        "firm_id", "topic", "partition", "offset", "kind", "entity_id", "placement_id", "source",
        "event_id", "type", "event_time", "received_at", "principal", "content_hash", "body",
    )  # fmt: skip


async def _commits(ground: Ground, settings: Settings) -> Iterator[Figure]:
    """Compare the producer's group commit with the bare builder loop, a CPU-second of each."""
    count = 5_000 if ground.quick else 40_000
    rates: dict[str, list[float]] = {"group": [], "builder": []}
    bare = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, acks="all",
        enable_idempotence=False, linger_ms=0, max_batch_size=BATCH_BYTES_MAX,
    )  # fmt: skip
    async with Producer(settings) as producer:
        await producer.wait_connected()
        await bare.start()
        for number in range(ground.rounds):
            ground.say(f"sink: group commit, round {number + 1} of {ground.rounds}")
            for name in turned(list(rates), number):
                began = time.process_time()
                if name == "group":
                    await _group(producer, settings, count)
                else:
                    await _build(bare, settings, count)
                rates[name].append(count / (time.process_time() - began))
        await bare.stop()
    return iter(
        [
            compare(
                "sink", "group commit", "events/CPU-s", rates["group"], "builder loop",
                rates["builder"], 0.75,
            )
        ]
    )  # fmt: skip


async def _group(producer: Producer, settings: Settings, count: int) -> None:
    """Have 32 senders produce `count` events in requests of a hundred."""
    records = [Record(f"firm-{n % 12}".encode(), BODY, HEADERS) for n in range(100)]
    turns = iter(range(count // 100))

    async def sender() -> None:
        for _ in turns:
            await producer.produce(settings.topic("task-events"), records, 10)

    await asyncio.gather(*(sender() for _ in range(32)))


async def _build(bare: AIOKafkaProducer, settings: Settings, count: int) -> None:
    """Send `count` events as full batches, one under way to each partition."""
    topic, partitions = settings.topic("task-events"), settings.topic_partitions

    async def fill(partition: int) -> None:
        left = count // partitions
        while left:
            batch = bare.create_batch()
            while left and batch.append(key=b"firm-1", value=BODY, timestamp=None, headers=HEADERS):
                left -= 1
            batch.close()
            await (await bare.send_batch(batch, topic, partition=partition))

    await asyncio.gather(*(fill(number) for number in range(partitions)))
