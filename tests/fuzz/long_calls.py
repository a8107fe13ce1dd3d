"""Every published call, some thousand times each: the long run of test_calls.py.

A failing part is asked again, alone, by its own name, which pytest prints.
"""

import pytest

from tests.fuzz.calls import Tour, probe

PARTS = range(8)
REQUESTS_PER_CALL = {"ingest": 300, "metrics": 180, "billing": 115}
# Some calls have few ways to be asked. What a part has at least comes to 25,600 in all of them.
REQUESTS_MIN = {"ingest": 700, "metrics": 750, "billing": 1_750}


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("house", list(REQUESTS_PER_CALL))
def test_every_call_answers_as_it_is_described(world, house, part, capsys):
    tour = Tour.of(world, house)
    if part == 0:
        probe(tour)
    tour.explore(REQUESTS_PER_CALL[house], seed_number=100 + part)
    assert tour.count >= REQUESTS_MIN[house]
    with capsys.disabled():
        print(f"\n{house} part {part}: {tour.count} requests, {tour.summary()}")  # noqa: T201 (for whoever waits)
