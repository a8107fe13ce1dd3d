"""The world that schedules are played in ends in order, whatever has just happened in it."""

import asyncio
import signal

import pytest

from tests.faults.driver import sturdy_servers
from tests.faults.processes import fork_server
from tests.faults.world import installation
from tests.log import DIRECTORY, put
from tests.tally import until

DOWN_SECONDS = 0.5
PATIENCE_SECONDS = 30


@pytest.mark.parametrize("noticed", [False, True])
async def test_a_world_ends_without_a_service_that_is_down_and_tells_how_that_ended(
    folder, noticed
):
    servers = sturdy_servers()
    async with fork_server() as fork, installation(servers, folder / "w", fork, print) as world:
        for role in ("metrics", "billing"):
            await world.live(role, down_seconds=DOWN_SECONDS)
        await put(world.settings, DIRECTORY, "admin:a")
        await world.settle()  # both are up
        life = world.lives["metrics"]
        process = life.process
        assert process is not None
        world.send("metrics", signal.SIGKILL)
        await process.ended
        if noticed:
            await until(lambda: life.codes)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await world.finish() == {"billing": 0}
        assert life.codes == [-9]
        assert life.process is process
