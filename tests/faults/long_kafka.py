"""Three nodes through many faults: `pytest tests/faults/long_kafka.py`; each round is a test.

Two rounds share a shuffle of all faults: the first takes one half of it, the second the other, so
that every fault is met in every second round, each time after and before others. A round's number
says its faults: a failed one is replayed by the name pytest gives it.
"""

import asyncio
import random
import signal

import pytest

from services.kafka import admin_client
from tests.faults.nodes import here, leader_of, load, ready_again, three_nodes
from tests.faults.trackers import PATIENCE_SECONDS, SLACK_SECONDS

ROUNDS = 8
FROZEN_SECONDS = (5, 60)  # one of the two freezes of a shuffle is long, by turns
__all__ = ["here", "three_nodes"]


async def kill_leader(settings, cluster, tracker, chance):
    node = cluster.nodes[await leader_of(settings, "time-events")]
    await asyncio.to_thread(node.stop, signal.SIGKILL)
    await tracker.until_more(chance.randrange(1, 200))


async def end_leader_gently(settings, cluster, tracker, chance):
    node = cluster.nodes[await leader_of(settings, "time-events")]
    await asyncio.to_thread(node.stop)
    await tracker.until_more(chance.randrange(1, 200))


async def kill_any_two(settings, cluster, tracker, chance):
    for number in chance.sample(sorted(cluster.nodes), 2):
        await asyncio.to_thread(cluster.nodes[number].stop, signal.SIGKILL)
    await tracker.until_refused(chance.randrange(4, 20))


async def kill_all(settings, cluster, tracker, chance):
    await asyncio.to_thread(cluster.stop)
    await tracker.until_refused(chance.randrange(4, 20))


async def freeze_leader(settings, cluster, tracker, chance):
    leader = cluster.nodes[await leader_of(settings, "time-events")]
    await freeze([leader.process()], FROZEN_SECONDS[chance.turn % 2])


async def freeze_all(settings, cluster, tracker, chance):
    processes = [node.process() for node in cluster.nodes.values()]
    await freeze(processes, FROZEN_SECONDS[1 - chance.turn % 2])


async def freeze(processes, seconds):
    for process in processes:
        process.suspend()
    try:
        await asyncio.sleep(seconds)
    finally:
        for process in processes:
            process.resume()


FAULTS = [kill_leader, end_leader_gently, kill_any_two, kill_all, freeze_leader, freeze_all]


class Round(random.Random):
    """A round's chance, and which shuffle it belongs to."""

    def __init__(self, number):
        super().__init__(number)
        self.turn, self.half = divmod(number, 2)

    def faults(self):
        """Take this round's half of its shuffle."""
        shuffled = random.Random(self.turn).sample(FAULTS, len(FAULTS))
        return shuffled[self.half :: 2]


def test_every_fault_is_met_in_every_second_round():
    for first in range(0, ROUNDS, 2):
        met = [fault for number in (first, first + 1) for fault in Round(number).faults()]
        assert sorted(met, key=FAULTS.index) == FAULTS


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(ROUNDS))
async def test_what_was_acknowledged_is_what_has_an_effect(here, three_nodes, number):
    chance = Round(number)
    async with load(here) as (tracker, health):
        for fault in chance.faults():
            await fault(here, three_nodes, tracker, chance)
            await asyncio.to_thread(three_nodes.start)
            late = await ready_again(tracker, health)
            assert late < SLACK_SECONDS, (number, fault.__name__)
            await in_step(here, three_nodes)


async def in_step(settings, cluster):
    """Wait until three nodes run and each has all that is on the log: the next fault needs them.

    A node that thaws among others that went on may find that it has to end; it is started again.
    """
    names = [settings.topic(name) for name in ("directory", "time-events")]
    async with asyncio.timeout(PATIENCE_SECONDS), admin_client(settings) as admin:
        while True:
            await asyncio.to_thread(cluster.start)
            found = await admin.describe_topics(names)
            if all(len(part["isr"]) == 3 for topic in found for part in topic["partitions"]):
                return
            await asyncio.sleep(0.2)
