"""Clients that take an answer a byte at a time stop no consumer; a long fold stops no client."""

import asyncio
from functools import partial

from services.metrics.consumer import READING as METRICS
from services.postgres import connect
from tests.faults.pace import Pace
from tests.log import DIRECTORY, applied, entry, put
from tests.overload import hostile, wire
from tests.overload.processes import loads, service
from tests.tokens import make_token

MEBIBYTE = 2**20
LAG_SECONDS = 5.0
YEAR = (
    "/v1/firms/firm-1/metrics?from=2026-01-01&to=2027-01-01&granularity=day"
    "&metric=hours,hours_by_task_type,turnaround,throughput,slack&group_by=placement"
)


async def test_many_that_take_an_answer_a_byte_at_a_time_do_not_stop_the_consumer(here, tmp_path):
    await put(here, DIRECTORY, "admin:a")
    token = await make_token(here, "firm", placements=(), sources=())
    conn = await connect(here, "metrics", "writer")
    lags = []
    with service("metrics", here, tmp_path / "log") as house:
        await house.ready()
        await put(here, [entry(f"first-{n}", 6) for n in range(100)])
        await applied(here, METRICS, conn)
        async with loads(2) as call:
            before = house.memory_bytes()
            sip = partial(hostile.sip, path=YEAR, readers=40, seconds=8)
            sipping = call(sip, house.port, token)
            await house.answers(5)
            for number in range(8):
                await put(here, [entry(f"more-{number}-{n}", 6) for n in range(100)])
                lags.append(await applied(here, METRICS, conn))
            asked = await call(
                partial(wire.ask_in_turn, clients=2, seconds=1, path="/v1/metric-definitions"),
                house.port, token, "honest",
            )  # fmt: skip
            sipped = await sipping
            grown = house.memory_peak_bytes() - before
        served = {one["status"] for one in house.events("request_served")}
    assert (served, sipped.begun >= 40) == ({200}, True)
    assert max(lags) < LAG_SECONDS
    assert set(asked.statuses) == {200}
    assert grown < 128 * MEBIBYTE, f"{grown / MEBIBYTE:.0f} MiB"
    assert await conn.fetchval("select count(*) from fact") == 900 + len(DIRECTORY)
    await conn.close()


async def test_a_long_fold_leaves_the_api_its_turn(here, tmp_path):
    """One entity with thousands of records is read and folded whole, at every poll.

    A fold that compared each with all others took minutes, and its partition with it.
    """
    await put(here, DIRECTORY, "admin:a")
    token = await make_token(here, "firm", placements=(), sources=())
    for part in range(4):
        await put(here, [entry("hot", 6, event_id=f"hot-{part}-{n}") for n in range(2_000)])
    conn = await connect(here, "metrics", "writer")
    async with loads(1) as call:
        ask = partial(
            wire.ask_in_turn, clients=4, seconds=1, path="/v1/metric-definitions", pause=0.02
        )
        with service("metrics", here, tmp_path / "log") as house:
            applying = asyncio.create_task(applied(here, METRICS, conn))
            told, pace = wire.Told(), Pace()
            while not applying.done():
                told.add(await call(ask, house.port, token, "honest"))
            await applying
    assert set(told.statuses) == {200}
    assert pace.late(max(told.seconds)) < 1.0
    assert await conn.fetchval("select count(*) from fact") == 8_000 + len(DIRECTORY)
    await conn.close()
