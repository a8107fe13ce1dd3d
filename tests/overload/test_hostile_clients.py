"""Half-sent requests and bombs: whoever holds connections or memory keeps no honest client out."""

from functools import partial

from tests.faults.pace import Pace
from tests.overload import hostile, wire
from tests.overload.processes import loads, service
from tests.tokens import make_token

MEBIBYTE = 2**20
MEMORY_BYTES = 128 * MEBIBYTE
FILES = 768  # places for 512 connections: half of those that want to hold one
ANSWER_SECONDS = 5.0


async def test_a_thousand_half_sent_requests_keep_no_honest_client_out(here, tmp_path):
    token = await make_token(here)
    with service("ingest", here, tmp_path / "log", files=FILES) as door:
        await door.ready()
        async with loads(2) as call:
            before, pace = door.memory_bytes(), Pace(door.pid)
            with wire.lasting(tmp_path / "done") as ends:
                hold = partial(hostile.drip, connections=1_000, seconds=60, pause=1, ends=ends)
                holding = call(hold, door.port, token)
                await door.until_held(450)
                told = await call(
                    partial(wire.send_in_turn, clients=10, seconds=5, batch=5, pause=0.05),
                    door.port, token, "honest",
                )  # fmt: skip
                late = pace.late(max(told.seconds))
                assert not holding.done(), "it has ended before those beside it"
            begun = await holding
            grown = door.memory_peak_bytes() - before
        after = len([one for one in door.connections() if one.status == "ESTABLISHED"])
    assert begun > 1_000
    assert set(told.statuses) == {202}
    assert late < ANSWER_SECONDS
    assert grown < MEMORY_BYTES, f"{grown / MEBIBYTE:.0f} MiB"
    assert after < 100, "what was half sent is gone"
    assert "512 connections instead of 4096" in door.events("files_too_few")[0]["words"]


async def test_bombs_are_refused_within_the_memory_and_honest_clients_are_served(here, tmp_path):
    token = await make_token(here)
    with service("ingest", here, tmp_path / "log") as door:
        await door.ready()
        async with loads(2) as call:
            before, pace = door.memory_bytes(), Pace(door.pid)
            throw = partial(hostile.throw_bombs, clients=18, seconds=6, pause=0.2)
            throwing = call(throw, door.port, token)
            told = await call(
                partial(wire.send_in_turn, clients=5, seconds=5, batch=5, pause=0.05),
                door.port, token, "honest",
            )  # fmt: skip
            late = pace.late(max(told.seconds))
            thrown = await throwing
            grown = door.memory_peak_bytes() - before
    assert thrown.surprises == []
    assert thrown.statuses[0] == 0
    assert {413, 422, 400} <= set(thrown.statuses)
    assert set(told.statuses) <= {202, 503}
    assert told.statuses[202] > told.statuses[503]
    assert late < ANSWER_SECONDS
    assert grown < MEMORY_BYTES, f"{grown / MEBIBYTE:.0f} MiB"
