"""Month runs whose workers are killed at random moments, held against one that nobody disturbed."""

import asyncio
from dataclasses import dataclass
from random import Random

from services.billing.jobs import draft_next
from services.postgres import connect
from tests.billing.conftest import Billing
from tests.billing.worker import Worker, begin
from tests.races.crowd import firm_names, is_done, made, outcomes, settle_crowd

WORKERS = 2
LIFE_SECONDS = (0.05, 0.35)  # from before its first claim to some drafts later
BUSY = """
select exists (select 1 from pg_stat_activity where datname = current_database()
               and client_port = any($1) and state in ('active', 'idle in transaction'))
"""


@dataclass
class Told:
    """What killing came to: runs, kills that hit a worker in its draft, firms drafted."""

    runs: int = 0
    kills: int = 0
    firms: int = 0


@dataclass
class _Hunted:
    """A worker, and the seconds that it may live from when it has reached the database."""

    worker: Worker
    life: float
    ends: float | None = None


async def kill_runs(billing: Billing, firm_count: int, kills: int, seed: int) -> Told:
    """Kill workers of one run after the other, so often; each equals the undisturbed one."""
    await settle_crowd(billing, firm_count, entry_count=6)
    rng, told = Random(seed), Told()
    conn = await connect(billing.settings, "billing", "writer")
    undisturbed = await begin(conn, billing.settings)
    while await draft_next(conn):
        pass
    expected = await made(conn, undisturbed)
    assert [row[0] for row in expected] == sorted(firm_names(firm_count))
    assert outcomes(expected) == {"document"}
    while told.kills < kills:
        run_id = await begin(conn, billing.settings)
        await _hunt(billing, conn, run_id, kills, rng, told)
        found = await made(conn, run_id)
        assert found == expected, f"seed {seed}, run {told.runs + 1}"
        told.runs += 1
        told.firms += len(found)
    await conn.close()
    return told


async def _hunt(billing: Billing, conn, run_id: str, kills: int, rng: Random, told: Told) -> None:
    """Keep workers on a run until it is done, and kill each after a while."""
    loop = asyncio.get_running_loop()
    crowd: list[_Hunted] = []
    try:
        async with asyncio.timeout(240):
            while not await is_done(conn, run_id):
                while len(crowd) < WORKERS:
                    life = rng.uniform(*LIFE_SECONDS) if told.kills < kills else 240
                    crowd.append(_Hunted(Worker(billing.settings), life))
                await asyncio.sleep(0.01)
                for one in list(crowd):
                    if one.ends is None and one.worker.ports():
                        one.ends = loop.time() + one.life
                    if one.ends is not None and loop.time() >= one.ends:
                        crowd.remove(one)
                        busy = await conn.fetchval(BUSY, one.worker.ports())
                        one.worker.kill()
                        told.kills += busy and not await is_done(conn, run_id)
    finally:
        for one in crowd:
            one.worker.kill()
