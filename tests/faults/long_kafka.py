"""Three nodes through many faults: `pytest tests/faults/long_kafka.py`; each round is a test.

A round's number is the seed of its faults: a failed one is replayed by the name pytest gives it.
"""

import asyncio
import random
import signal

import pytest

from tests.faults.test_kafka_cluster import (
    HEAL_SECONDS,
    SLACK_SECONDS,
    here,
    leader_of,
    load,
    ready_again,
    three_nodes,
)

ROUNDS = 30
FROZEN_SECONDS = 60
__all__ = ["here", "three_nodes"]


async def kill_leader(settings, cluster, tracker, rng):
    node = cluster.nodes[await leader_of(settings, "time-events")]
    await asyncio.to_thread(node.stop, signal.SIGKILL)
    await tracker.until_more(rng.randrange(1, 200))


async def end_leader_gently(settings, cluster, tracker, rng):
    node = cluster.nodes[await leader_of(settings, "time-events")]
    await asyncio.to_thread(node.stop)
    await tracker.until_more(rng.randrange(1, 200))


async def kill_any_two(settings, cluster, tracker, rng):
    for number in rng.sample(sorted(cluster.nodes), 2):
        await asyncio.to_thread(cluster.nodes[number].stop, signal.SIGKILL)
    await tracker.until_refused(rng.randrange(4, 20))


async def kill_all(settings, cluster, tracker, rng):
    await asyncio.to_thread(cluster.stop)
    await tracker.until_refused(rng.randrange(4, 20))


async def freeze_leader(settings, cluster, tracker, rng):
    process = cluster.nodes[await leader_of(settings, "time-events")].process()
    process.suspend()
    try:
        await asyncio.sleep(rng.choice([5, FROZEN_SECONDS]))
    finally:
        process.resume()


async def freeze_all(settings, cluster, tracker, rng):
    processes = [node.process() for node in cluster.nodes.values()]
    for process in processes:
        process.suspend()
    try:
        await asyncio.sleep(rng.choice([5, FROZEN_SECONDS]))
    finally:
        for process in processes:
            process.resume()


FAULTS = [kill_leader, end_leader_gently, kill_any_two, kill_all, freeze_leader, freeze_all]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_what_was_acknowledged_is_what_has_an_effect(here, three_nodes, seed):
    rng = random.Random(seed)
    faults = rng.choices(FAULTS, k=3)
    async with load(here) as (tracker, health):
        for fault in faults:
            await fault(here, three_nodes, tracker, rng)
            await asyncio.to_thread(three_nodes.start)
            seconds = await ready_again(tracker, health)
            assert seconds < HEAL_SECONDS + SLACK_SECONDS, (seed, fault.__name__)
