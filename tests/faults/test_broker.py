"""A broker that dies or stands still: what was acknowledged is what has an effect."""

import asyncio
import signal
import time

import psutil
import pytest
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import RequestTimedOutError
from aiokafka.protocol.fetch import FetchRequest

from services.consuming import consume
from services.kafka import (
    INDEXED_BYTES,
    TIME_ENTRY_BYTES,
    admin_client,
    ensure_topics,
    log_ends,
    topic_settings,
)
from services.kafka_clients import access, harden
from services.producer import OutcomeUnknown, Producer
from tests import tally
from tests.faults.pace import Pace
from tests.faults.trackers import SLACK_SECONDS, Tracker
from tests.log import DIRECTORY, entry, put, record

DEADLINE_SECONDS = 2.0
HEAL_SECONDS = 5.0
INDEX_BYTES_MIN = 4096
LATE_MILLISECONDS = 1_000
BATCHES = 2 * INDEX_BYTES_MIN // TIME_ENTRY_BYTES  # twice as many as an index has entries


@pytest.fixture
def broken(settings, own_kafka):
    """Settings whose broker the test may break."""
    return settings.model_copy(
        update={
            "kafka_bootstrap_servers": own_kafka.bootstrap_servers,
            "produce_deadline_seconds": DEADLINE_SECONDS,
        }
    )


def patient(settings):
    """Give a sound broker on a busy machine its time."""
    return settings.model_copy(update={"produce_deadline_seconds": 30.0})


async def test_a_broker_killed_under_load_loses_and_doubles_nothing(broken, own_kafka):
    await ensure_topics(broken)
    await put(patient(broken), DIRECTORY, "admin:a")
    async with tally.tally_house(broken) as house, tally.consuming(broken):
        async with Producer(broken) as producer, asyncio.TaskGroup() as group:
            await producer.wait_connected()
            tracker = Tracker(broken, producer)
            for name in "abcd":
                group.create_task(tracker.work(name))
            for how in (signal.SIGKILL, signal.SIGTERM):
                await tracker.until_more(100)
                await asyncio.to_thread(own_kafka.stop, how)
                assert await idle_share(seconds=2.5) > 0.6
                await asyncio.to_thread(own_kafka.start)
                assert await tracker.until_more(1, HEAL_SECONDS) < SLACK_SECONDS
                await tracker.until_more(100)
            tracker.stop.set()
        await house.settle()
        rows = await house.rows()
    assert tracker.unknown > 0
    tracker.compare(rows)


async def test_a_request_is_late_also_where_another_finds_its_connection_gone(broken, own_kafka):
    """Who was stopped while its broker was killed hears of both at once."""
    await ensure_topics(broken)
    await put(patient(broken), [entry("a", 1)])
    client = AIOKafkaClient(request_timeout_ms=LATE_MILLISECONDS, **access(broken))
    harden(client)
    await client.bootstrap()
    node = client.get_random_node()
    fetch = FetchRequest(60_000, 1, 1, 0, [(broken.topic("time-events"), [(0, 1, 1)])])
    try:
        asked = asyncio.create_task(client.send(node, fetch))
        another = asyncio.create_task(after(LATE_MILLISECONDS / 2000, client.ready, node))
        await asyncio.sleep(LATE_MILLISECONDS / 4000)  # for nothing to come, the broker waits too
        own_kafka.stop(signal.SIGKILL)
        time.sleep(LATE_MILLISECONDS / 1000)  # noqa: ASYNC251 (as a process that is stopped)
        with pytest.raises(RequestTimedOutError):
            await asked
        assert not await another
    finally:
        await client.close()


async def after(seconds, call, *arguments):
    await asyncio.sleep(seconds)
    return await call(*arguments)


async def idle_share(seconds):
    """Say how much of some time this process left the processor alone."""
    me = psutil.Process()
    before, started = me.cpu_times(), time.monotonic()
    await asyncio.sleep(seconds)
    after = me.cpu_times()
    busy = after.user + after.system - before.user - before.system
    return 1 - busy / (time.monotonic() - started)


async def test_a_frozen_broker_is_answered_for_in_time_and_goes_on_when_it_thaws(broken, own_kafka):
    await ensure_topics(broken)
    await put(patient(broken), DIRECTORY, "admin:a")
    broker = own_kafka.process()
    async with tally.tally_house(broken) as house, tally.consuming(broken):
        async with Producer(broken) as producer, asyncio.TaskGroup() as group:
            await producer.wait_connected()
            tracker = Tracker(broken, producer)
            for name in "ab":
                group.create_task(tracker.work(name))
            await tracker.until_more(50)
            broker.suspend()
            try:
                before = tracker.unknown
                await tally.until(lambda: tracker.unknown >= before + 6)
            finally:
                broker.resume()
            await tracker.until_more(50)
            tracker.stop.set()
        await house.settle()
        rows = await house.rows()
    tracker.compare(rows)


async def test_a_killed_broker_starts_again_with_indexes_of_the_smallest_size(broken, own_kafka):
    """Starts, and copies that are sent much at once, make fewer entries than a repair finds."""
    small = broken.model_copy(update={"topic_index_bytes": INDEX_BYTES_MIN})
    topic, kept = small.topic("time-events"), topic_settings(small)
    few = kept | {"index.interval.bytes": "1000000"}
    batch = [record(entry("a", 1) + b" " * INDEXED_BYTES)]  # each has an entry
    async with admin_client(small) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=few)])
    async with Producer(patient(small)) as producer:
        await producer.wait_connected()
        for _ in range(BATCHES):
            await producer.produce(topic, batch, 30.0)
    async with admin_client(small) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, kept)])
    await asyncio.to_thread(own_kafka.stop, signal.SIGKILL)
    await asyncio.to_thread(own_kafka.start)
    await ensure_topics(small)
    assert await log_ends(small, [topic]) == {(topic, 0): BATCHES}


async def test_stopping_is_bounded_while_the_broker_is_frozen(broken, own_kafka):
    await ensure_topics(broken)
    broker = own_kafka.process()
    stop = asyncio.Event()
    async with tally.tally_house(broken):
        consumer = asyncio.create_task(consume(broken, tally.TALLY, stop))
        async with Producer(broken) as producer:
            await producer.wait_connected()
            await put(patient(broken), [entry("a", 1)])
            broker.suspend()
            started, pace = time.monotonic(), Pace()
            with pytest.raises(OutcomeUnknown):
                await producer.produce(
                    broken.topic("time-events"), [record(entry("b", 1))], DEADLINE_SECONDS / 4
                )
            seconds = time.monotonic() - started
            assert pace.late(seconds, DEADLINE_SECONDS / 4) < SLACK_SECONDS
            started = time.monotonic()
        assert time.monotonic() - started < 10
        stop.set()
        await consumer
        assert time.monotonic() - started < 20
        broker.resume()
