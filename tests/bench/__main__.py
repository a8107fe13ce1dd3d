"""Measure the speed of the way beside ceilings and peers: `python -m tests.bench --help`."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import ingest
from tests.bench.ground import Ground, servers
from tests.bench.report import Figure, document, machine, markdown, table

ROWS = {"ingest": ingest.run}
PARTITIONS = 3


def main() -> None:
    """Run the rows that were asked for and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(ROWS), action="append", help="one row only")
    parser.add_argument("--rounds", type=int, default=5, help="rounds a row; the median counts")
    parser.add_argument("--quick", action="store_true", help="small sizes: do the programs work?")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON")
    shape.add_argument("--markdown", action="store_true", help="print for docs/performance.md")
    given = parser.parse_args()
    started = time.monotonic()

    def say(words: str) -> None:
        print(f"· {time.monotonic() - started:5.0f} s  {words}", file=sys.stderr, flush=True)

    figures: list[Figure] = []
    say("starting Postgres and Kafka")
    with (
        servers(topic_partitions=PARTITIONS) as settings,
        tempfile.TemporaryDirectory() as folder,
    ):
        ground = Ground(settings, Path(folder), given.rounds, given.quick, say)
        for name in given.only or ROWS:
            figures.extend(ROWS[name](ground))
    if given.json:
        print(document(figures, given.rounds, ground.absent))
    else:
        print(markdown(figures) if given.markdown else table(figures))
        print(f"\n{machine()}; {given.rounds} rounds, medians; ratios are taken round by round.")
        for words in ground.absent:
            print(f"absent: {words}")
        goals = [figure.met for figure in figures if figure.met is not None]
        print(f"{sum(goals)} of {len(goals)} goals are met")


if __name__ == "__main__":
    main()
