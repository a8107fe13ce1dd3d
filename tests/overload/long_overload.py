"""The long proof of overload: measured beside each other in one run, and told as a table.

Not collected by default: `pytest tests/overload/long_overload.py`.
"""

import random
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import pytest

from tests.faults.pace import Pace
from tests.log import DIRECTORY, put
from tests.overload import hostile, wire
from tests.overload.conftest import logged_ids
from tests.overload.freezing import frozen
from tests.overload.processes import loads, service
from tests.overload.stops import BATCH, stop_under_load
from tests.tokens import make_token

ROUNDS = 5
TURNS = 8
TURN_SECONDS = 4.0
STOPS = 200
FREEZE_SECONDS = 90  # longer than a consumer waits before it cuts its connection
P99_TIMES_MAX = 2.0
GOODPUT_SHARE_MIN = 0.5


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a line past pytest's capture."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)  # noqa: T201 (a long run tells what it measured)

    return say


@pytest.mark.timeout(300)
async def test_what_is_served_under_three_times_the_load_is_a_stated_share(here, tmp_path, tell):
    token = await make_token(here)
    shares = []
    with service("ingest", here, tmp_path / "log") as door:
        await door.ready()
        async with loads(1) as call:
            for number in range(ROUNDS):
                warm = partial(wire.send_in_turn, clients=8, seconds=3, batch=100)
                capacity = await call(warm, door.port, token, f"warm-{number}")
                rate = len(capacity.acknowledged) / capacity.took
                served = []
                for times in (1, 3):
                    load = partial(
                        wire.send_steadily, rate=times * rate, seconds=6, batch=100, lines_max=1_500
                    )
                    told = await call(load, door.port, token, f"load-{number}-{times}")
                    served.append(100 * told.in_time / told.took)
                shares.append(served[1] / served[0])
                tell(
                    f"round {number}: {served[0]:.0f} events/s at 1x, {served[1]:.0f} at 3x, "
                    f"peak {door.memory_peak_bytes() >> 20} MiB, {dict(told.statuses)}"
                )
    tell(f"goodput at 3x, as a share of 1x, median of {ROUNDS}: {median(shares):.2f}")
    assert median(shares) >= GOODPUT_SHARE_MIN


@pytest.mark.timeout(600)
async def test_honest_p99_beside_a_thousand_half_sent_requests_and_bombs(here, tmp_path, tell):
    """Short turns, alone and beside harm: what else the machine does falls on all alike.

    Each p99 is that of all turns together, some thousands of answers; the median of a few small
    p99s would be chance.
    """
    token = await make_token(here)
    harms: dict[str, Callable[..., Any]] = {
        "half-sent": partial(hostile.drip, connections=1_000, seconds=TURN_SECONDS + 3, pause=1),
        "bombs": partial(hostile.throw_bombs, clients=4, seconds=TURN_SECONDS + 3, pause=1),
    }
    honest = partial(wire.send_in_turn, clients=8, seconds=TURN_SECONDS, batch=5, pause=0.05)
    answers: dict[str, wire.Told] = {name: wire.Told() for name in ("alone", *harms)}
    pace = Pace()
    with service("ingest", here, tmp_path / "log") as door:
        await door.ready()
        async with loads(1) as call, loads(1, nice=19) as harming:
            await call(honest, door.port, token, "warm")
            await harming(hostile.bombs)
            for number in range(TURNS):
                for name, told in answers.items():
                    doing = harming(harms[name], door.port, token) if name in harms else None
                    if name == "half-sent":
                        await door.until_held(900)
                    told.add(await call(honest, door.port, token, f"{name}-{number}"))
                    if doing is not None:
                        assert not doing.done(), "it has ended before those beside it"
                        harm = await doing
                        assert harm >= 1_000 if name == "half-sent" else harm.surprises == []
    quiet = answers.pop("alone").percentile(0.99)
    tell(f"p99 {1e3 * quiet:.0f} ms alone; work here took {pace.times():.1f} times its time")
    for name, told in answers.items():
        p99 = told.percentile(0.99)
        tell(f"p99 {1e3 * p99:.0f} ms beside {name}, {p99 / quiet:.2f} times, {told.statuses}")
        assert set(told.statuses) <= {202, 503}
    assert max(told.percentile(0.99) / quiet for told in answers.values()) < P99_TIMES_MAX


@pytest.mark.timeout(1_800)
async def test_two_hundred_stops_under_load(here, tmp_path, tell):
    await put(here, DIRECTORY, "admin:a")
    tokens = {
        "ingest": await make_token(here),
        "metrics": await make_token(here, "firm", placements=(), sources=()),
        "billing": await make_token(here, "finance", firms=("*",), placements=(), sources=()),
    }
    chance = random.Random(200)
    seconds: list[float] = []
    acknowledged: list[str] = []
    async with loads(1) as call:
        for number in range(STOPS):
            house = chance.choice(["ingest"] * 6 + ["metrics", "billing"])
            stopped = await stop_under_load(
                call, house, here, tmp_path / "log", tokens[house], f"stop-{number}",
                chance.uniform(0, 0.5),
            )  # fmt: skip
            assert stopped.is_clean, stopped._replace(acknowledged=[])
            seconds.append(stopped.seconds)
            acknowledged += stopped.acknowledged
            if number % 20 == 19:
                tell(f"{number + 1} stops, the slowest {max(seconds):.2f} s")
    missing = wire.ids_of(acknowledged, BATCH) - set(await logged_ids(here))
    tell(f"{len(acknowledged) * BATCH} events acknowledged, {len(missing)} missing")
    assert not missing


@pytest.mark.timeout(300)
async def test_a_long_freeze_ends_for_every_house(breakable, own_postgres, tmp_path, tell):
    token = await make_token(breakable)
    with (
        service("ingest", breakable, tmp_path / "ingest") as ingest,
        service("metrics", breakable, tmp_path / "metrics") as metrics,
        service("billing", breakable, tmp_path / "billing") as billing,
    ):
        houses = (ingest, metrics, billing)
        for house in houses:
            await house.ready()
        async with loads(1) as call:
            send = partial(
                wire.send_in_turn, clients=20, seconds=FREEZE_SECONDS, batch=1, pause=0.5
            )
            sending = call(send, ingest.port, token, "during")
            with frozen(own_postgres):
                told = await sending
            for house in houses:
                await house.ready(10)
            after = await call(
                partial(wire.send_in_turn, clients=1, seconds=0.5, batch=1),
                ingest.port, token, "after",
            )  # fmt: skip
    assert set(after.statuses) == {202}
    assert set(told.statuses) <= {202, 503}
    tell(f"frozen {FREEZE_SECONDS} s: slowest answer {max(told.seconds):.1f} s")
