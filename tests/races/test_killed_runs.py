"""A month run by workers that are killed is, byte for byte, the run that nobody disturbed."""

from tests.races.killing import kill_runs


async def test_a_run_killed_at_random_points_equals_the_undisturbed_one(billing):
    told = await kill_runs(billing, firm_count=40, kills=12, seed=5)
    assert told.kills >= 12
