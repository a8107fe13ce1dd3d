"""More than ingest can do: it refuses early, keeps what it takes on, and bounds its memory."""

from functools import partial

from tests.overload import wire
from tests.overload.conftest import logged_ids
from tests.overload.processes import loads, service
from tests.tokens import make_token

BATCH = 100
MEBIBYTE = 2**20
# Bodies in hand (16 MiB, ten times that when read), what waits for Kafka (32 MiB), connections.
MEMORY_BYTES = 256 * MEBIBYTE
REFUSALS = {202, 429, 503}


async def test_three_times_its_capacity_is_refused_in_part_and_what_is_taken_is_kept(
    here, tmp_path
):
    token = await make_token(here)
    with service("ingest", here, tmp_path / "log") as door:
        await door.ready()
        async with loads(1) as call:
            warm = partial(wire.send_in_turn, clients=8, seconds=2.5, batch=BATCH)
            capacity = await call(warm, door.port, token, "warm")
            rate = len(capacity.acknowledged) / capacity.took
            before = door.memory_bytes()
            flood = partial(
                wire.send_steadily, rate=3 * rate, seconds=5, batch=BATCH, lines_max=1_500
            )
            flooded = await call(flood, door.port, token, "flood")
            # Nothing of it is left: the very next is taken.
            after = await call(
                partial(wire.send_in_turn, clients=2, seconds=1, batch=BATCH),
                door.port, token, "after",
            )  # fmt: skip
            grown = door.memory_peak_bytes() - before
    assert set(flooded.statuses) <= REFUSALS
    assert flooded.statuses[202] > 0
    assert flooded.statuses[429] + flooded.statuses[503] > 0, "this was no overload"
    assert flooded.without_retry == 0
    assert flooded.unanswered == 0
    assert max(flooded.seconds) < 15
    assert set(after.statuses) == {202}
    assert grown < MEMORY_BYTES, f"{grown / MEBIBYTE:.0f} MiB"
    told = [*capacity.acknowledged, *flooded.acknowledged, *after.acknowledged]
    assert wire.ids_of(told, BATCH) <= set(await logged_ids(here))


async def test_the_largest_bodies_all_at_once_stay_within_the_memory(here, tmp_path):
    """Forty bodies of four mebibytes are ten times what is taken on at once."""
    token = await make_token(here)
    with service("ingest", here, tmp_path / "log") as door:
        await door.ready()
        async with loads(1) as call:
            before = door.memory_bytes()
            large = partial(wire.send_in_turn, clients=40, seconds=5, batch=wire.LARGEST)
            told = await call(large, door.port, token, "large")
            after = await call(
                partial(wire.send_in_turn, clients=1, seconds=0.3, batch=1),
                door.port, token, "after",
            )  # fmt: skip
            grown = door.memory_peak_bytes() - before
    assert set(told.statuses) <= REFUSALS
    assert told.statuses[202] > 0
    assert told.statuses[503] > 0, "this was no overload"
    assert told.without_retry == 0
    assert set(after.statuses) == {202}
    assert grown < MEMORY_BYTES, f"{grown / MEBIBYTE:.0f} MiB"
    assert wire.ids_of(told.acknowledged, wire.LARGEST) <= set(await logged_ids(here))
