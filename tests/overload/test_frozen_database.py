"""A frozen database, or a slow one, stops nobody for longer than it lasts, and nothing is lost."""

import asyncio
import time
from contextlib import ExitStack
from functools import partial

import aiohttp
import asyncpg
import psycopg

from services.billing.consumer import READING as BILLING
from services.ingest.consumer import READING as INGEST
from services.metrics.consumer import READING as METRICS
from services.postgres import LOOK_SECONDS, RELEASE_SECONDS, borrowed, connect, open_pool
from tests.faults.pace import Pace
from tests.log import DIRECTORY, applied, entry, put
from tests.overload import wire
from tests.overload.conftest import logged_ids
from tests.overload.freezing import frozen
from tests.overload.processes import HOUSES, loads, service
from tests.tokens import make_token

SLACK_SECONDS = 1.5  # for work; it takes longer where others use the processors
ANSWER_SECONDS = LOOK_SECONDS + RELEASE_SECONDS  # timers keep that
READY_SECONDS = 5.0
BATCH = 10


async def ask_health(house, path):
    url = f"http://127.0.0.1:{house.ops_port}{path}"
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        return response.status, await response.text()


def is_to(port):
    return lambda one: one.raddr and one.raddr.port == port


async def test_a_frozen_database_never_stops_ingest(breakable, own_postgres, tmp_path):
    token = await make_token(breakable)
    with service("ingest", breakable, tmp_path / "log") as door:
        await door.ready()
        async with loads(2) as call:
            send = partial(wire.send_in_turn, clients=150, seconds=60, batch=BATCH, pause=0.2)
            one = partial(wire.send_in_turn, clients=1, seconds=0.2, batch=1)
            before, pace, steady = door.memory_bytes(), Pace(door.pid), wire.Told()
            for backends_only in (False, True):
                name = f"{'backends' if backends_only else 'all'}-frozen"
                with wire.lasting(tmp_path / name) as ends:
                    sending = call(partial(send, ends=ends), door.port, token, name)
                    answered = len(door.events("request_served"))
                    await door.answers(answered + 20)  # so that connections are in use
                    with frozen(own_postgres, backends_only=backends_only):
                        await live(door, own_postgres.port, pace)
                        started = time.monotonic()
                        status, _ = await ask_health(door, "/readyz")
                        seconds = time.monotonic() - started
                        assert pace.late(seconds, ANSWER_SECONDS) < SLACK_SECONDS
                        # Where only what was there stands still, new connections have done it.
                        assert status == (200 if backends_only else 503)
                    thawed = time.monotonic()
                    await door.ready()
                    while not (await call(one, door.port, token, f"{name}-one")).acknowledged:
                        pass  # all places may be taken by those who came before
                    assert pace.late(time.monotonic() - thawed, READY_SECONDS) < SLACK_SECONDS
                steady.add(await sending)
            late = pace.late(max(steady.seconds), ANSWER_SECONDS)
            peak = door.memory_peak_bytes()
    assert set(steady.statuses) == {202, 503}
    assert steady.without_retry == 0
    assert late < SLACK_SECONDS
    assert peak - before < 100 * 2**20
    logged = await logged_ids(breakable)
    assert wire.ids_of(steady.acknowledged, BATCH) <= set(logged)


async def live(door, database_port, pace):
    """See for some seconds that its loop lives, and nothing piles up."""
    until = time.monotonic() + 4
    while time.monotonic() < until:
        started = time.monotonic()
        assert (await ask_health(door, "/livez"))[0] == 200
        assert pace.late(time.monotonic() - started) < SLACK_SECONDS
        assert len([one for one in door.connections() if is_to(database_port)(one)]) <= 40
        await asyncio.sleep(0.2)


async def test_a_slow_database_is_told_in_time_and_gives_its_connections_back(
    breakable, own_postgres, tmp_path
):
    """A lock that somebody holds makes every look at a token wait."""
    token = await make_token(breakable)
    with service("ingest", breakable, tmp_path / "log") as door:
        await door.ready()
        pace = Pace(door.pid)
        async with loads(1) as call:
            with psycopg.connect(own_postgres.url) as owner:
                owner.execute("lock table identity.token in access exclusive mode")
                told = await call(
                    partial(wire.send_in_turn, clients=40, seconds=4, batch=1),
                    door.port, token, "slow",
                )  # fmt: skip
                owner.rollback()
            assert set(told.statuses) == {503}
            assert told.without_retry == 0
            assert pace.late(max(told.seconds), ANSWER_SECONDS) < SLACK_SECONDS
            at_once = await call(
                partial(wire.send_in_turn, clients=4, seconds=0.5, batch=1),
                door.port, token, "quick",
            )  # fmt: skip
    assert set(at_once.statuses) == {202}


async def test_what_is_lent_comes_back_from_a_server_that_stands_still(breakable, own_postgres):
    pool = await open_pool(breakable, "ingest", "firm", size=3)

    async def look(seconds):
        async with borrowed(pool, seconds) as conn:
            return await conn.fetchval("select 1")

    assert await asyncio.gather(*(look(5) for _ in range(3))) == [1, 1, 1]
    for backends_only in (False, True):
        with frozen(own_postgres, backends_only=backends_only):
            started, pace = time.monotonic(), Pace()
            found = await asyncio.gather(*(look(0.5) for _ in range(9)), return_exceptions=True)
            seconds = time.monotonic() - started
            assert pace.late(seconds, 0.5 + RELEASE_SECONDS) < SLACK_SECONDS
        lost = (asyncpg.PostgresConnectionError, TimeoutError)
        assert any(isinstance(one, lost) for one in found)
        assert all(one == 1 or isinstance(one, lost) for one in found)
        assert await asyncio.gather(*(look(5) for _ in range(9))) == [1] * 9
    await pool.close()


async def test_consumers_of_every_house_go_on_after_a_freeze(breakable, own_postgres, tmp_path):
    await put(breakable, DIRECTORY, "admin:a")
    sent = [f"before-{n}" for n in range(200)]
    await put(breakable, [entry(i, 6) for i in sent])
    with ExitStack() as stack:
        houses = [stack.enter_context(service(name, breakable, tmp_path / name)) for name in HOUSES]
        for house in houses:
            await house.ready()
        for number in range(2):
            during = [f"during-{number}-{n}" for n in range(200)]
            half = len(during) // 2
            await put(breakable, [entry(i, 6) for i in during[:half]])  # on their way, or not yet
            with frozen(own_postgres, backends_only=number == 1):
                await put(breakable, [entry(i, 6) for i in during[half:]])
                for house in houses:
                    assert (await ask_health(house, "/livez"))[0] == 200
                await asyncio.sleep(2)
            sent += during
            for house in houses:
                await ready_again(house)
        for reading in (INGEST, METRICS, BILLING):
            facts = await facts_applied(breakable, reading)
            assert facts == len(DIRECTORY) + (0 if reading is INGEST else len(sent))


async def ready_again(house):
    """Wait until a house is ready after a fault; see that it is so in the time that is promised."""
    started, pace = time.monotonic(), Pace(house.pid)
    await house.ready()
    assert pace.late(time.monotonic() - started, READY_SECONDS) < SLACK_SECONDS


async def facts_applied(settings, reading):
    """Wait until a house has read the log; say how many facts it holds."""
    conn = await connect(settings, reading.house, "writer")
    try:
        await applied(settings, reading, conn, 30)
        return await conn.fetchval("select count(*) from fact")
    finally:
        await conn.close()


async def test_a_stop_while_the_database_is_frozen_is_a_stop(breakable, own_postgres, tmp_path):
    token = await make_token(breakable)
    with ExitStack() as stack:
        houses = [stack.enter_context(service(name, breakable, tmp_path / name)) for name in HOUSES]
        for house in houses:
            await house.ready()
        async with loads(len(houses)) as call:
            with frozen(own_postgres):
                send = partial(wire.send_in_turn, clients=5, seconds=1.5, batch=1)
                sending = [call(send, house.port, token, house.house) for house in houses]
                await asyncio.sleep(1)
                ends = await asyncio.gather(*(asyncio.to_thread(house.stop) for house in houses))
            await asyncio.gather(*sending)
    assert [(code, seconds < 10) for code, seconds in ends] == [(0, True)] * 3, ends
