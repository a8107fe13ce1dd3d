"""Three nodes of which one or two are lost: what was acknowledged is what has an effect."""

import asyncio
import signal
import time

import pytest
import structlog
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import RequestTimedOutError
from aiokafka.protocol.metadata import MetadataRequest

from services.kafka import TopicRefused, ensure_topics, log_ends
from services.kafka_clients import access, avoid_silent
from services.log_reader import REQUEST_MILLISECONDS
from services.postgres import connect
from services.topic_ids import see_topics
from tests.faults.nodes import (
    HEAL_SECONDS,
    here,
    leader_of,
    load,
    ready_again,
    three_nodes,
)
from tests.faults.pace import Pace
from tests.faults.trackers import PATIENCE_SECONDS, SLACK_SECONDS

__all__ = ["here", "three_nodes"]

FIND_TALLY = "select true from tally where entity_id = $1"
SILENT_MILLISECONDS = 2_000
STILL_SECONDS = 10.0  # to hear who leads now, to join the group anew, and to be placed
log = structlog.get_logger()


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


async def test_a_frozen_node_is_waited_for_once_and_asked_again_when_it_thaws(here, three_nodes):
    """Whom a client asks is chance: without a memory it waits at the same node again and again."""
    topics = [here.topic("time-events")]
    client = AIOKafkaClient(request_timeout_ms=SILENT_MILLISECONDS, **access(here))
    avoid_silent(client)
    await client.bootstrap()
    number, node = next(iter(three_nodes.nodes.items()))
    frozen, pace = node.process(), Pace()
    try:
        await client.send(number, MetadataRequest(topics))
        frozen.suspend()
        with pytest.raises(RequestTimedOutError):
            await client.send(number, MetadataRequest(topics))
        started = time.monotonic()
        for _ in range(30):
            assert (await see_topics(client, topics)).ids.keys() == set(topics)
        assert pace.late(time.monotonic() - started) < SILENT_MILLISECONDS / 1000
        frozen.resume()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await client.ready(number):  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.02)
    finally:
        frozen.resume()
        await client.close()


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
