"""SIGTERM under load: a service ends with exit 0 within ten seconds, and keeps what it took."""

import random

from tests.log import DIRECTORY, put
from tests.overload import wire
from tests.overload.conftest import logged_ids
from tests.overload.processes import loads
from tests.overload.stops import BATCH, stop_under_load
from tests.tokens import make_token

STOPS = ("ingest", "ingest", "metrics", "ingest", "ingest", "billing") * 2


async def test_a_service_told_to_stop_under_load_ends_well_and_keeps_what_it_took(here, tmp_path):
    await put(here, DIRECTORY, "admin:a")
    tokens = {
        "ingest": await make_token(here),
        "metrics": await make_token(here, "firm", placements=(), sources=()),
        "billing": await make_token(here, "finance", firms=("*",), placements=(), sources=()),
    }
    chance = random.Random(12)
    stopped = []
    async with loads(1) as call:
        for number, house in enumerate(STOPS):
            stopped.append(
                await stop_under_load(
                    call, house, here, tmp_path / f"{number}.log", tokens[house],
                    f"stop-{number}", chance.uniform(0, 0.4),
                )
            )  # fmt: skip
    assert [one for one in stopped if not one.is_clean] == []
    assert all(one.served for one in stopped)
    acknowledged = [batch for one in stopped for batch in one.acknowledged]
    assert acknowledged
    assert wire.ids_of(acknowledged, BATCH) <= set(await logged_ids(here))
