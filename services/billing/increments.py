"""Increments: due seconds rounded to steps of minutes, whole by whole; raw seconds are kept."""

from collections.abc import Sequence

from services.billing.books import Increment


def rounded_seconds(seconds: int, increment: Increment) -> int:
    """Round a duration that is not negative; `nearest` rounds a tie up."""
    step = increment.minutes * 60
    if step == 0:
        return seconds
    quotient, rest = divmod(seconds, step)
    if increment.direction == "up":
        quotient += rest > 0
    elif increment.direction == "nearest":
        quotient += 2 * rest >= step
    return quotient * step


def rounded_parts(parts: Sequence[int], increment: Increment) -> list[int]:
    """Share the rounded sum of `parts` among them, in their order, so that it is the sum again.

    Each part takes what the rounded sum grows by with it: no part is rounded alone.
    """
    shares, so_far, shared = [], 0, 0
    for seconds in parts:
        so_far += seconds
        share = rounded_seconds(so_far, increment) - shared
        shares.append(share)
        shared += share
    return shares
