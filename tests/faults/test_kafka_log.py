"""A log that lost what we had read: its partition stops, whatever is written behind the loss."""

import asyncio
import signal

import pytest

from services.folding import load_offsets, rebuild
from services.kafka import ensure_topics, log_ends
from services.log_health import Health
from tests import tally
from tests.faults.cluster import run
from tests.log import DIRECTORY, entry, put
from tests.servers import kafka_in
from tests.tally import process, until


@pytest.fixture(scope="module")
def kafka(server_folder):
    """A broker whose files the tests of this module may cut; it runs when one ends."""
    broker = kafka_in(server_folder / "kafka")
    with run(broker, server_folder):
        yield broker


@pytest.fixture
async def here(settings, kafka):
    """Settings of that broker, its topics made."""
    found = settings.model_copy(update={"kafka_bootstrap_servers": kafka.bootstrap_servers})
    await ensure_topics(found)
    await put(found, DIRECTORY, "admin:a")
    return found


@pytest.fixture
async def house(here):
    async with tally.tally_house(here) as found:
        yield found


def lose_last_batch(kafka, topic):
    """End a broker as a power cut does that takes what was not yet on the disk."""
    kafka.stop(signal.SIGKILL)
    (segment,) = (kafka.folder / "data" / f"{topic}-0").glob("*.log")
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size - 1)
    kafka.start()


async def put_each(settings, *ids):
    """Put entries on the log, each in a batch of its own."""
    for name in ids:
        await put(settings, [entry(name, 1)])


async def test_a_log_shorter_than_what_was_applied_is_an_alarm_that_stays_when_it_grows_again(
    here, house, kafka
):
    topic = here.topic("time-events")
    await put_each(here, "a", "b", "c")
    health = Health()
    async with tally.consuming(here, health=health):
        await house.settle()
        await asyncio.to_thread(lose_last_batch, kafka, topic)
        assert await log_ends(here, [topic]) == {(topic, 0): 2}
        await until(lambda: "next is 3, the log holds 0 to 2" in health.alarms.values())
        await put_each(here, "d", "e", "f")
        await until(lambda: "record 2 is not the one that was applied" in health.alarms.values())
    assert await house.rows() == dict.fromkeys("abc", (1, "PH"))
    assert (await load_offsets(house.conn))[topic, 0] == 3


async def test_a_loss_that_was_written_over_before_we_came_back_is_found(here, house, kafka):
    """All offsets fit by then: only the record before the next one tells."""
    topic = here.topic("time-events")
    await put_each(here, "a", "b", "c")
    async with tally.consuming(here):
        await house.settle()
    await asyncio.to_thread(lose_last_batch, kafka, topic)
    await put_each(here, "d", "e")
    health = Health()
    async with tally.consuming(here, health=health):
        await until(lambda: "record 2 is not the one that was applied" in health.alarms.values())
        assert await house.rows() == dict.fromkeys("abc", (1, "PH"))
        await rebuild(house.conn)
        await house.settle()
        assert health.alarms == {}
        assert await house.rows() == dict.fromkeys("abde", (1, "PH"))


async def test_a_loss_that_was_written_over_while_a_consumer_stood_still_is_found(
    here, house, kafka, tmp_path
):
    """It knows where to read on and is still a member: only its connection has ended."""
    await put_each(here, "a", "b", "c")
    with process(here, tmp_path) as member:
        await house.settle()
        member.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(lose_last_batch, kafka, here.topic("time-events"))
        await put_each(here, "d", "e")
        member.send_signal(signal.SIGCONT)
        words = tmp_path / "words.txt"
        await until(lambda: "record 2 is not the one that was applied" in words.read_text())
    assert await house.rows() == dict.fromkeys("abc", (1, "PH"))
