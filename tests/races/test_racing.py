"""Whoever decides, sends hours, issues or rebuilds races runs: each run is its own replay."""

from tests.races.racing import race


async def test_every_run_is_its_own_replay_whatever_raced_it(billing):
    racers = await race(billing, seed=3, times=1)
    assert len(racers.runs) == 12
    listed = await billing.call("GET", "/v1/invoices")
    assert "issued" in {invoice["state"] for invoice in listed["invoices"]}
