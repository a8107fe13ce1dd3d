"""Members of a group: one takes over what a killed one had, and two owners have one effect."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from services.consuming import Applying
from services.kafka import ensure_topics
from services.kafka_clients import access, stop_consumer
from services.log_health import Health
from services.log_holds import HELD
from services.log_reader import read_log
from tests import tally
from tests.faults.trackers import PATIENCE_SECONDS
from tests.log import DIRECTORY, entry, put
from tests.tally import process

SLACK_SECONDS = 1.0


@asynccontextmanager
async def second_group(settings, name):
    """Read all partitions into the house's tables, as a group that nobody coordinates with ours."""
    stop, queued = asyncio.Event(), asyncio.Event()
    applying = Applying(settings, tally.TALLY, queued)
    topics = [settings.topic(topic) for topic in tally.TALLY.topics]
    task = asyncio.create_task(read_log(settings, name, topics, applying, stop, Health()))
    try:
        yield
    finally:
        stop.set()
        await task
        await applying.close()


async def test_two_owners_of_one_partition_have_one_effect(settings, tally_house):
    """Kafka fences nobody here: the compare-and-swap of the offset does."""
    await put(settings, DIRECTORY, "admin:a")
    ids: list[str] = []
    before = collided()
    async with tally.consuming(settings), second_group(settings, "second"):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(ids) < 500 or collided() == before:  # when they meet is chance
                more = [f"{len(ids) + n}" for n in range(25)]
                await put(settings, [entry(i, 1) for i in more])
                ids += more
        await tally_house.settle()
        rows, facts = await tally_house.rows(), await tally_house.count("fact")
    assert rows == dict.fromkeys(ids, (1, "PH"))
    assert facts == len(ids) + len(DIRECTORY)


def collided():
    """Count the partitions of this process that were held because another owner had moved them."""
    return sum(
        HELD.labels(house, reason)._value.get()
        for house in ("metrics", "second")
        for reason in ("fenced", "moved")
    )


async def test_a_killed_member_is_replaced_within_its_session_and_a_second(
    settings, tally_house, tmp_path
):
    wide = settings.model_copy(
        update={"topic_partitions": 4, "topic_prefix": "w" + settings.topic_prefix}
    )
    await ensure_topics(wide)
    tally_house.settings = wide

    def of_all_partitions(name):
        return [entry(f"{name}-{n}", 1, firm_id=f"firm-{n}") for n in range(16)]

    with process(wide, tmp_path) as member:
        await put(wide, of_all_partitions("a"))
        await tally_house.settle()
        async with tally.consuming(wide):
            await put(wide, of_all_partitions("b"))
            await tally_house.settle()
            member.kill()
            member.wait(10)
            killed = time.monotonic()
            await put(wide, of_all_partitions("c"))
            await tally_house.settle()
            seconds = time.monotonic() - killed
    assert 1 < seconds < wide.consumer_session_seconds + 1 + SLACK_SECONDS
    assert await tally_house.rows() == {
        f"{name}-{n}": (1, None) for name in "abc" for n in range(16)
    }


async def test_a_poll_that_fails_puts_the_clients_own_watchdog_to_sleep(settings):
    """Why we have a watchdog of our own, and never cancel a poll."""
    await ensure_topics(settings)
    place = TopicPartition(settings.topic("time-events"), 0)
    for spoil in (out_of_range, cancelled):
        consumer = AIOKafkaConsumer(
            enable_auto_commit=False, auto_offset_reset="none", **access(settings)
        )
        try:
            await consumer.start()
            consumer.assign([place])
            consumer.seek(place, 0)
            await consumer.getmany(timeout_ms=50)
            assert consumer._subscription.fetcher_idle_time > 0
            await spoil(consumer, place)
            consumer.seek(place, 0)
            await consumer.getmany(timeout_ms=50)
            assert consumer._subscription.fetcher_idle_time == 0
        finally:
            await stop_consumer(consumer)


async def out_of_range(consumer, place):
    consumer.seek(place, 99)
    with pytest.raises(OffsetOutOfRangeError) as raised:
        await consumer.getmany(timeout_ms=5_000)
    assert raised.value.args == ({place: 99},)


async def cancelled(consumer, place):
    polling = asyncio.ensure_future(consumer.getmany(timeout_ms=5_000))
    await asyncio.sleep(0)
    polling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await polling
