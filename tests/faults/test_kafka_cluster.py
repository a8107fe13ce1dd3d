"""Three nodes of which one or two are lost: what was acknowledged is what has an effect."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog

from services.kafka import TopicRefused, admin_client, ensure_topics, log_ends
from services.log_health import Health
from services.log_reader import REQUEST_MILLISECONDS
from services.postgres import connect
from services.producer import OutcomeUnknown, Producer
from tests import tally
from tests.faults.cluster import new_cluster, run
from tests.faults.pace import Pace
from tests.faults.trackers import PATIENCE_SECONDS, Tracker
from tests.log import DIRECTORY, put

DEADLINE_SECONDS = 2.0
HEAL_SECONDS = 5.0
SLACK_SECONDS = 1.0
FIND_TALLY = "select true from tally where entity_id = $1"
STILL_SECONDS = 10.0  # to hear who leads now, to join the group anew, and to be placed
log = structlog.get_logger()


@pytest.fixture(scope="module")
def three_nodes(server_folder):
    """Three nodes for the tests of this module; each test leaves all of them running."""
    cluster = new_cluster(server_folder)
    with run(cluster, server_folder):
        yield cluster


@pytest.fixture
async def here(settings, three_nodes):
    """Settings of three copies of each topic, of which two must confirm."""
    found = settings.model_copy(
        update={
            "kafka_bootstrap_servers": three_nodes.bootstrap_servers,
            "produce_deadline_seconds": DEADLINE_SECONDS,
            "topic_replication": 3,
        }
    )
    await ensure_topics(found)
    async with asyncio.timeout(30):
        while True:  # the nodes may still be getting over the last test
            try:
                await put(found, DIRECTORY, "admin:a")
            except OutcomeUnknown:
                continue  # sent again, as a tracker does
            return found


async def leader_of(settings, name):
    """Say which node leads the only partition of a topic."""
    async with admin_client(settings) as admin:
        (topic,) = await admin.describe_topics([settings.topic(name)])
    return topic["partitions"][0]["leader"]


@asynccontextmanager
async def load(settings) -> AsyncIterator[tuple[Tracker, Health]]:
    """Send and consume for the length of a block, then compare what was said with what is."""
    health = Health()
    async with tally.tally_house(settings) as house:
        async with tally.consuming(settings, health=health):
            async with Producer(settings) as producer, asyncio.TaskGroup() as group:
                await producer.wait_connected()
                tracker = Tracker(settings, producer)
                for name in "abcd":
                    group.create_task(tracker.work(name))
                await tracker.until_more(50)
                yield tracker, health
                await tracker.until_more(50)
                tracker.stop.set()
            await house.settle()
            rows = await house.rows()
        assert tracker.latest_seconds < SLACK_SECONDS
        assert set(rows) == set(tracker.acknowledged)
        assert set(rows.values()) == {(1, "PH")}


async def ready_again(tracker, health):
    """Wait until one is acknowledged and all is read; return how late that was."""
    started, pace = time.monotonic(), Pace()
    await tracker.until_more(1)
    loop = asyncio.get_running_loop()
    healed_at = loop.time()
    await tally.until(
        lambda: (health.read_at or 0) > healed_at and not health.alarms, PATIENCE_SECONDS
    )
    seconds = time.monotonic() - started
    log.info("ready_again", seconds=round(seconds, 2), times=round(pace.times(), 1))
    return pace.late(seconds, HEAL_SECONDS)


async def test_a_killed_leader_is_replaced_and_nothing_is_lost(here, three_nodes):
    async with load(here) as (tracker, health):
        killed = three_nodes.nodes[await leader_of(here, "time-events")]
        await asyncio.to_thread(killed.stop, signal.SIGKILL)
        assert await ready_again(tracker, health) < SLACK_SECONDS
        await tracker.until_more(50)
        await asyncio.to_thread(three_nodes.start)


async def test_a_frozen_leader_is_replaced_and_what_it_says_when_it_thaws_counts_for_nothing(
    here, three_nodes
):
    async with load(here) as (tracker, health):
        number = await leader_of(here, "time-events")
        frozen = three_nodes.nodes[number].process()
        frozen.suspend()
        try:
            assert await tracker.until_more(1, HEAL_SECONDS) < SLACK_SECONDS
            await tracker.until_more(50)
            others = [node for key, node in three_nodes.nodes.items() if key != number]
            beside = {"kafka_bootstrap_servers": others[0].bootstrap_servers}
            assert await leader_of(here.model_copy(update=beside), "time-events") != number
        finally:
            frozen.resume()
        assert await ready_again(tracker, health) < SLACK_SECONDS


async def test_a_consumer_waits_for_a_frozen_node_no_longer_than_a_request_may_take(
    here, three_nodes
):
    """A node that is killed hangs up; of one that stands still only its silence tells."""
    async with load(here) as (tracker, _):
        frozen = three_nodes.nodes[await leader_of(here, "time-events")].process()
        started, pace = time.monotonic(), Pace()
        frozen.suspend()
        try:
            await tracker.until_more(1)
            await until_applied(here, tracker.acknowledged[-1])
        finally:
            frozen.resume()
        seconds = time.monotonic() - started
        log.info("read_on", seconds=round(seconds, 2), times=round(pace.times(), 1))
        assert pace.late(seconds, REQUEST_MILLISECONDS / 1000) < STILL_SECONDS


async def until_applied(settings, entry_id):
    """Wait until an entry has had its effect."""
    conn = await connect(settings, "metrics", "writer")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await conn.fetchval(FIND_TALLY, entry_id):  # noqa: ASYNC110 (another task)
            await asyncio.sleep(0.02)
    await conn.close()


async def test_one_node_alone_confirms_nothing_and_all_goes_on_when_they_are_back(
    here, three_nodes
):
    """A record on one copy of three may be lost: it is not acknowledged."""
    topic = here.topic("time-events")
    async with load(here) as (tracker, health):
        leader = await leader_of(here, "time-events")
        lost = [node for number, node in three_nodes.nodes.items() if number != leader]
        for node in lost:
            await asyncio.to_thread(node.stop, signal.SIGKILL)
        await tracker.until_refused(4)
        confirmed = len(tracker.acknowledged)
        await tracker.until_refused(12)
        assert len(tracker.acknowledged) == confirmed
        await asyncio.to_thread(three_nodes.start)
        assert await ready_again(tracker, health) < SLACK_SECONDS
    assert (await log_ends(here, [topic]))[topic, 0] >= len(tracker.acknowledged)


async def test_every_node_killed_at_once_loses_nothing_that_was_acknowledged(here, three_nodes):
    async with load(here) as (tracker, health):
        await asyncio.to_thread(three_nodes.stop)
        await tracker.until_refused(8)
        await asyncio.to_thread(three_nodes.start)
        assert await ready_again(tracker, health) < SLACK_SECONDS


async def test_topics_confirm_on_two_of_three_copies_and_weaker_ones_are_refused(
    here, settings, three_nodes
):
    prefix = {"topic_prefix": f"weak.{settings.topic_prefix}"}
    single = here.model_copy(update={"topic_replication": 1, **prefix})
    await ensure_topics(single)
    with pytest.raises(
        TopicRefused, match=r"min.insync.replicas is 1, not 2, replication is 1, no"
    ):
        await ensure_topics(here.model_copy(update=prefix))
    await ensure_topics(here.model_copy(update={"topic_replication": 1}))  # more never hurts
    with pytest.raises(TopicRefused, match="could not be made: InvalidReplicationFactorError"):
        await ensure_topics(
            here.model_copy(
                update={"topic_replication": 5, "topic_prefix": f"x{settings.topic_prefix}"}
            )
        )
