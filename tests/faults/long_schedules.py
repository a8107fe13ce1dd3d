"""Hundreds of schedules, or those of some seeds: `python -m tests.faults.schedules --help`."""

import argparse
import asyncio
import itertools
import sys
import time
from collections.abc import Sequence

from services.machine.jars import ensure_jars
from tests import servers
from tests.faults.driver import Outcome, play_all

SHARES = (
    (0, 0.40),
    (1000, 0.2),
    (2000, 0.15),
    (3000, 0.15),
    (4000, 0.03),
    (5000, 0.02),
    (6000, 0.05),
)  # first seed of a kind, its share


def chosen(count: int, start: int) -> list[int]:
    """Choose seeds of all kinds, each kind's from `start` on."""
    return [
        first + start + number
        for first, share in SHARES
        for number in range(max(1, round(count * share)))
    ][:count]


def main(arguments: Sequence[str] | None = None) -> None:
    """Play schedules; the end's code is 1 when one went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.schedules", description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int, help="play these and tell their stories")
    parser.add_argument("--count", type=int, default=0, help="play so many, of all kinds")
    parser.add_argument("--start", type=int, default=0, help="begin each kind at this number")
    parser.add_argument("--at-once", type=int, default=4, help="worlds side by side")
    given = parser.parse_args(arguments)
    seeds = given.seeds or chosen(given.count, given.start)
    if not seeds:
        parser.error("name seeds, or give --count")
    ensure_jars(None)
    folder = servers.prepare()
    try:
        outcomes = asyncio.run(_play(seeds, given.at_once, tell=bool(given.seeds)))
    finally:
        servers.stop(folder)
    wrong = [outcome for outcome in outcomes if not outcome.went_well]
    sys.stdout.write(f"\n{len(outcomes)} schedules, {len(wrong)} went wrong\n")
    sys.exit(1 if wrong else 0)


async def _play(seeds: Sequence[int], at_once: int, *, tell: bool) -> list[Outcome]:
    numbers, began = itertools.count(1), time.monotonic()

    def note(outcome: Outcome) -> None:
        how = "well" if outcome.went_well else "WRONG"
        elapsed = time.monotonic() - began
        sys.stdout.write(
            f"{next(numbers):4} of {len(seeds)}  {elapsed:6.0f} s  seed {outcome.schedule.seed:5} "
            f"{how:5} {outcome.seconds:5.1f} s  {outcome.schedule.describe()}{_missed(outcome)}\n"
        )
        if not outcome.went_well:
            sys.stdout.write(f"{outcome.report()}\n")
        sys.stdout.flush()

    def echo(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    return await play_all(seeds, at_once=at_once, echo=echo if tell else None, done=note)


def _missed(outcome: Outcome) -> str:
    return f" (nobody came by {', '.join(outcome.missed)})" if outcome.missed else ""


if __name__ == "__main__":
    main()
