"""Some thousand strings of bytes at the door for events, each judged by a second opinion."""

from tests.fuzz.judging import knock_all

KNOCKS = 3_000


def test_the_door_stands_and_the_log_holds_what_was_accepted(world):
    judge = knock_all(world, part=0, count=KNOCKS)
    assert judge.statuses.total() == KNOCKS
    assert judge.accepted.total() > KNOCKS / 10
    assert {202, 400, 401, 413, 415, 422} <= set(judge.statuses)
