"""A knock that was hung up on excuses what it sent itself, in chunks too, and nothing else."""

from random import Random

from tests import wire
from tests.fuzz.judging import came_of
from tests.fuzz.knocks import PATH, chunked

KNOCKS = 500


def hung_up_on(number):
    """Write a knock in chunks; return it and the value that it would put on the log."""
    rng = Random(number)
    value = b'{"id":"%d","of":"%s"}' % (number, rng.randbytes(rng.randint(0, 200)).hex().encode())
    head = wire.request("POST", PATH, [("Transfer-Encoding", "chunked")])
    return head + chunked(rng, value), value


def test_a_record_came_of_the_chunks_that_hold_it():
    knocks = [hung_up_on(number) for number in range(KNOCKS)]
    assert [value for raw, value in knocks if not came_of([raw], value)] == []
    assert sum(value in raw for raw, value in knocks) < KNOCKS / 2, "hardly any was in chunks"


def test_a_record_did_not_come_of_another_knock_however_that_was_written():
    raw, _ = hung_up_on(1)
    _, other = hung_up_on(2)
    assert not came_of([raw], other)
