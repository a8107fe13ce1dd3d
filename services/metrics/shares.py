"""Shares and percentiles: how sure a share is, and what a few values may be summed up to."""

from collections.abc import Sequence
from fractions import Fraction
from math import floor, sqrt
from typing import NamedTuple

Z95 = 1.959963984540054
LISTED_BELOW = 5
_ENOUGH = ((99, 100), (95, 20), (90, 10))


class Share(NamedTuple):
    """A share of counts with its Wilson 95 % interval; all None for 0 of 0."""

    value: float | None
    low: float | None
    high: float | None


def share(numerator: int, denominator: int) -> Share:
    """Return k of n with the Wilson score interval at 95 %."""
    if denominator == 0:
        return Share(None, None, None)
    p = numerator / denominator
    z2 = Z95 * Z95
    middle = p + z2 / (2 * denominator)
    spread = Z95 * sqrt(p * (1 - p) / denominator + z2 / (4 * denominator * denominator))
    whole = 1 + z2 / denominator
    # The exact bounds at 0 and n; the formula misses them by a rounding.
    low = 0.0 if numerator == 0 else (middle - spread) / whole
    high = 1.0 if numerator == denominator else (middle + spread) / whole
    return Share(round(p, 6), round(low, 6), round(high, 6))


def percentile(values: Sequence[int], percent: int) -> Fraction:
    """Return a percentile by continuous linear interpolation (`percentile_cont`), exactly.

    `values` is sorted and not empty.
    """
    below, part = divmod(percent * (len(values) - 1), 100)
    above = min(below + 1, len(values) - 1)
    return Fraction(100 * values[below] + (values[above] - values[below]) * part, 100)


def percentile_seconds(values: Sequence[int], percent: int) -> int | None:
    """Return a percentile to the nearest second, halves up; None where the values are too few.

    Below 5 values none, the 90th from 10 on, the 95th from 20, the 99th from 100. `values` is
    sorted.
    """
    needed = next((n for p, n in _ENOUGH if percent >= p), LISTED_BELOW)
    # What is asked of the low tail needs as many as its mirror in the high one.
    mirrored = next((n for p, n in _ENOUGH if 100 - percent >= p), LISTED_BELOW)
    if len(values) < max(needed, mirrored):
        return None
    return floor(percentile(values, percent) + Fraction(1, 2))
