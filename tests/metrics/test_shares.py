"""Shares with their doubt, and percentiles that say nothing of too few values."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.metrics.shares import percentile, percentile_seconds, share


@pytest.mark.parametrize(
    ("numerator", "denominator", "low", "high"),
    [
        (5, 5, 56.6, 100.0),
        (9, 10, 59.6, 98.2),
        (18, 20, 69.9, 97.2),
        (38, 40, 83.5, 98.6),
        (0, 5, 0.0, 43.4),
        (0, 1, 0.0, 79.3),
    ],
)
def test_golden_wilson_intervals(numerator, denominator, low, high):
    assert [round(100 * (bound or 0), 1) for bound in share(numerator, denominator)] == [
        round(100 * numerator / denominator, 1),
        low,
        high,
    ]


def test_none_of_many_is_told_without_a_sign():
    assert [str(share(0, n).low) for n in (1, 21, 37)] == ["0.0", "0.0", "0.0"]


def test_nothing_of_nothing_is_no_share():
    assert share(0, 0) == (None, None, None)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_share(counts):
    value, low, high = share(*counts)
    assert value is not None
    assert low is not None
    assert high is not None
    assert 0 <= low <= value <= high <= 1


def test_percentiles_lie_between_values_like_percentile_cont():
    values = [10, 20, 30, 40]
    assert [percentile(values, p) for p in (0, 25, 50, 90, 100)] == [
        10,
        Fraction(35, 2),
        25,
        37,
        40,
    ]
    assert percentile([7], 50) == 7


@pytest.mark.parametrize(
    ("percent", "enough"), [(50, 5), (75, 5), (90, 10), (95, 20), (99, 100), (10, 10), (5, 20)]
)
def test_a_percentile_needs_enough_values(percent, enough):
    assert percentile_seconds([60] * (enough - 1), percent) is None
    assert percentile_seconds([60] * enough, percent) == 60


def test_a_percentile_is_told_to_the_nearest_second_halves_up():
    assert percentile_seconds([1, 1, 1, 2, 2, 2], 50) == 2
    assert percentile_seconds([-2, -2, -2, -1, -1, -1], 50) == -1
    assert percentile_seconds([-20, -20, -3, -2, 0], 70) == -2  # -2.2, which lies nearer to -2
    assert percentile_seconds([-20, -20, -3, -2, 0], 55) == -3  # -2.8, which lies nearer to -3
