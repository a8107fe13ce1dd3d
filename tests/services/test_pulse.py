"""Long work in a transaction: Postgres hears that we live, and the loop keeps its turns."""

import asyncio
import time

import asyncpg
import pytest

from services.postgres import connect
from services.pulse import LARGE_RECORDS, SILENT_SECONDS, TURN_SECONDS, Pulse

TOO_LONG_SECONDS = 2.4  # Postgres bears two seconds of silence


@pytest.fixture
async def conn(settings):
    found = await connect(settings, "metrics", "writer")
    yield found
    await found.close()


class Others:
    """Whoever shares the loop, and counts the turns that they get."""

    def __init__(self, pause):
        self._turns = 0
        self._task = asyncio.create_task(self._run(pause))

    async def _run(self, pause):
        while True:
            self._turns += 1
            await asyncio.sleep(pause)

    def stop(self):
        """End them, and say how many turns they had."""
        self._task.cancel()
        return self._turns


async def test_silence_inside_a_transaction_costs_it(conn):
    transaction = conn.transaction()
    await transaction.start()
    time.sleep(TOO_LONG_SECONDS)  # noqa: ASYNC251 (work that does nothing else)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await conn.fetchval("select 1")


async def test_one_long_piece_of_work_keeps_its_transaction_and_leaves_the_loop_its_turns(conn):
    beside = Others(0.01)
    async with conn.transaction():
        await Pulse(conn).run(lambda: time.sleep(TOO_LONG_SECONDS), LARGE_RECORDS + 1)
        assert await conn.fetchval("select 1") == 1
    turns = beside.stop()
    assert turns > 50


async def test_many_short_pieces_keep_their_transaction_and_leave_the_loop_its_turns(conn):
    beside = Others(0)
    async with conn.transaction():
        pulse = Pulse(conn)
        pieces = int(TOO_LONG_SECONDS / TURN_SECONDS)
        for _ in range(pieces):
            await pulse.run(lambda: time.sleep(TURN_SECONDS), 1)
        assert await conn.fetchval("select 1") == 1
    turns = beside.stop()
    assert turns >= pieces // 2


async def test_few_records_that_take_long_leave_the_loop_its_turns(conn):
    beside = Others(0)
    pulse = Pulse(conn)
    for _ in range(20):
        await pulse.run(lambda: time.sleep(2 * TURN_SECONDS), 1)
    turns = beside.stop()
    assert turns >= 19


async def test_what_the_work_raises_is_raised(conn):
    for records in (1, LARGE_RECORDS + 1):
        with pytest.raises(ZeroDivisionError):
            await Pulse(conn).run(lambda: 1 // 0, records)
    assert SILENT_SECONDS * 4 <= 2


async def test_few_records_that_take_long_keep_their_transaction(conn):
    async with conn.transaction():
        pulse = Pulse(conn)
        for _ in range(6):
            await pulse.run(lambda: time.sleep(TOO_LONG_SECONDS / 4), 1)
        assert await conn.fetchval("select 1") == 1
