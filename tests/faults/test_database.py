"""A database that stops at once and comes back: each event has one effect."""

import asyncio

from services.kafka import ensure_topics
from services.postgres import connect
from tests import tally
from tests.log import DIRECTORY, entry, put


async def test_a_database_stopped_at_any_moment_loses_and_doubles_nothing(settings, own_postgres):
    here = settings.model_copy(update={"database_url": own_postgres.url})
    await ensure_topics(here)
    await put(here, DIRECTORY, "admin:a")
    sent: list[str] = []
    async with tally.tally_house(here), tally.consuming(here):
        for round_number in range(3):
            for part in range(4):
                ids = [f"{round_number}-{part}-{n}" for n in range(50)]
                await put(here, [entry(i, 1) for i in ids])
                sent += ids
            # The consumer is somewhere in the middle of these; Postgres ends without a word.
            await asyncio.to_thread(own_postgres.stop, "immediate")
            await put(here, [entry(f"{round_number}-down", 1)])
            sent.append(f"{round_number}-down")
            await asyncio.to_thread(own_postgres.start)
        conn = await connect(here, "metrics", "writer")
        house = tally.TallyHouse(here, conn)
        await house.settle()
        rows = await house.rows()
        facts = await house.count("fact")
        await conn.close()
    assert rows == dict.fromkeys(sent, (1, "PH"))
    assert facts == len(sent) + len(DIRECTORY)
