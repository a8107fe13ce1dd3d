"""The long races: 500 firms killed at 100 points, a thousand issues by each number of workers."""

import sys

import pytest

from tests.races.issuing import race
from tests.races.killing import kill_runs
from tests.races.racing import race as race_everybody

pytestmark = pytest.mark.timeout(3_600)


async def test_500_firms_killed_at_100_points_equal_the_undisturbed_run(billing, capsys):
    told = await kill_runs(billing, firm_count=500, kills=100, seed=1)
    with capsys.disabled():
        sys.stderr.write(
            f"\n{told.kills} kills, {told.runs} runs, {told.firms} drafts, all equal\n"
        )


@pytest.mark.parametrize("workers", [2, 4, 8])
async def test_a_thousand_issues_leave_no_gap_and_no_double(settings, workers):
    await race(settings, 1000, workers, seed=100 + workers)


@pytest.mark.parametrize("seed", range(1, 11))
async def test_every_run_is_its_own_replay_whatever_raced_it(billing, seed):
    racers = await race_everybody(billing, seed, times=4)
    assert len(racers.runs) == 48
