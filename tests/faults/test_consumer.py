"""Consumers that die or stand still inside their transaction: every event has one effect."""

import asyncio
import signal

from services.kafka import log_ends
from tests.log import DIRECTORY, entry, put
from tests.tally import ARMED, REACHED, consuming, process, until


async def settled_rows(tally_house, ids):
    await tally_house.settle()
    assert await tally_house.rows() == dict.fromkeys(ids, (1, "PH"))
    assert await tally_house.count("fact") == len(ids) + len(DIRECTORY)


async def test_a_consumer_killed_inside_its_transaction_leaves_nothing_half_done(
    settings, tally_house, tmp_path
):
    await put(settings, DIRECTORY, "admin:a")
    ids = [f"n-{n}" for n in range(40)]
    await put(settings, [entry(i, 1) for i in ids])
    (tmp_path / ARMED).touch()
    with process(settings, tmp_path) as running:
        await until((tmp_path / REACHED).exists)
        running.kill()
        running.wait(10)
        assert await tally_house.rows() == {}
    async with consuming(settings):
        await settled_rows(tally_house, ids)


async def test_a_consumer_that_slept_inside_its_transaction_is_refused_when_it_wakes(
    settings, tally_house, tmp_path
):
    """Its locks go by Postgres's own timeout, its partitions by Kafka's; then another owns both."""
    await put(settings, DIRECTORY, "admin:a")
    ids = [f"n-{n}" for n in range(60)]
    await put(settings, [entry(i, 1) for i in ids[:20]])
    (tmp_path / ARMED).touch()
    with process(settings, tmp_path) as sleeper:
        await until((tmp_path / REACHED).exists)
        sleeper.send_signal(signal.SIGSTOP)
        async with consuming(settings):
            await settled_rows(tally_house, ids[:20])
            await put(settings, [entry(i, 1) for i in ids[20:40]])
            await settled_rows(tally_house, ids[:40])
            sleeper.send_signal(signal.SIGCONT)
            await until(lambda: "partition_held" in (tmp_path / "words.txt").read_text())
            await put(settings, [entry(i, 1) for i in ids[40:]])
            await settled_rows(tally_house, ids)
        sleeper.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(sleeper.wait, 10) == 0
    ends = await log_ends(settings, [settings.topic("time-events")])
    assert ends == {(settings.topic("time-events"), 0): 60}
