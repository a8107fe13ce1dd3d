"""Three nodes under load: what is sent to them, who leads, and how soon they are ready again."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog

from services.kafka import admin_client, ensure_topics
from services.log_health import Health
from services.producer import OutcomeUnknown, Producer
from tests import tally
from tests.faults.cluster import new_cluster, run
from tests.faults.pace import Pace
from tests.faults.trackers import PATIENCE_SECONDS, Tracker
from tests.log import DIRECTORY, put

DEADLINE_SECONDS = 2.0
HEAL_SECONDS = 5.0
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
        tracker.compare(rows)


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
