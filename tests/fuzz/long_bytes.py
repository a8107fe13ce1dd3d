"""200,000 strings of bytes at the door for events: the long run of test_bytes.py."""

import pytest

from tests.fuzz.judging import knock_all

PARTS, KNOCKS_PER_PART = range(1, 41), 5_000


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", PARTS)
def test_the_door_stands(world, part, capsys):
    judge = knock_all(world, part, KNOCKS_PER_PART)
    assert judge.accepted.total() > KNOCKS_PER_PART / 10
    with capsys.disabled():
        print(f"\npart {part}: {dict(judge.statuses)} {dict(judge.codes)}")  # noqa: T201 (for whoever waits)
