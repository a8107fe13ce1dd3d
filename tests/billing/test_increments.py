"""Increments: steps of minutes, taken once of a whole, shared so that the parts are the whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.billing.books import Increment
from services.billing.increments import rounded_parts, rounded_seconds

INCREMENTS = st.builds(
    Increment, st.sampled_from([0, 1, 6, 15]), st.sampled_from(["up", "nearest", "down"])
)


@pytest.mark.parametrize(
    ("minutes", "direction", "worked", "billed"),
    [
        (6, "up", [0, 1, 5, 6, 7, 45, 70], [0, 6, 6, 6, 12, 48, 72]),
        (6, "nearest", [2, 3, 5, 8, 9], [0, 6, 6, 6, 12]),
        (6, "down", [5, 6, 11, 12], [0, 6, 6, 12]),
        (15, "up", [1, 15, 16], [15, 15, 30]),
        (15, "nearest", [7, 8, 22, 23], [0, 15, 15, 30]),
        (1, "up", [1, 61], [1, 61]),
        (0, "up", [1, 7], [1, 7]),
    ],
)
def test_minutes_are_rounded_to_steps(minutes, direction, worked, billed):
    increment = Increment(minutes, direction)
    assert [rounded_seconds(one * 60, increment) // 60 for one in worked] == billed


def test_a_second_more_is_a_step_more_when_rounding_up_and_half_a_step_is_a_tie():
    assert rounded_seconds(361, Increment(6, "up")) == 720
    assert rounded_seconds(179, Increment(6, "nearest")) == 0
    assert rounded_seconds(180, Increment(6, "nearest")) == 360
    assert rounded_seconds(59, Increment(0, "up")) == 59
    assert [rounded_seconds(61, Increment(1, way)) for way in ("up", "nearest", "down")] == [
        120,
        60,
        60,
    ]


@given(st.lists(st.integers(0, 100_000), max_size=8), INCREMENTS)
def test_the_parts_of_a_rounded_whole_add_up_to_it_and_none_is_negative(parts, increment):
    shares = rounded_parts(parts, increment)
    assert sum(shares) == rounded_seconds(sum(parts), increment)
    assert len(shares) == len(parts)
    assert all(share >= 0 for share in shares)
