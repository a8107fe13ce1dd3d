"""Every published call of the running services, held to its own description."""

import pytest

from tests.fuzz.calls import Tour, probe

REQUESTS_PER_CALL = 12


@pytest.mark.parametrize("house", ["ingest", "metrics", "billing"])
def test_every_call_answers_as_it_is_described(world, house):
    tour = Tour.of(world, house)
    probe(tour)
    tour.explore(REQUESTS_PER_CALL, seed_number=1)
    assert tour.missing() == []
