"""Measure the speed of the way beside ceilings and peers: `python -m tests.bench --help`."""

import argparse
import gc
import signal
import sys
import time

from tests.bench import ingest, latency, month, reads, sink
from tests.bench.ground import Ground, servers
from tests.bench.report import Figure, document, machine, markdown, table

ROWS = {
    "ingest": ingest.run,
    "sink": sink.run,
    "latency": latency.run,
    "month": month.run,
    "reads": reads.run,
}
PARTITIONS = 3


def main() -> None:
    """Run the rows that were asked for and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(ROWS), action="append", help="one row only")
    parser.add_argument("--rounds", type=int, help="rounds a row: 5, or 1 with --quick")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small sizes: do the programs work?")
    size.add_argument(
        "--long", action="store_true", help="a month of 2,000 firms, 10 million task events"
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON")
    shape.add_argument("--markdown", action="store_true", help="print for docs/performance.md")
    given = parser.parse_args()
    rounds: int = given.rounds or (1 if given.quick else 5)
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    gc.freeze()  # as the services do
    gc.set_threshold(100_000, 20, 100)

    def say(words: str) -> None:
        print(f"· {time.monotonic() - started:5.0f} s  {words}", file=sys.stderr, flush=True)

    figures: list[Figure] = []
    say("starting Postgres and Kafka")
    with servers(topic_partitions=PARTITIONS) as settings:
        settings.home.mkdir()
        ground = Ground(settings, settings.home, rounds, given.quick, say, given.long)
        for name in given.only or ROWS:
            figures.extend(ROWS[name](ground))
    if given.json:
        print(document(figures, rounds, ground.absent))
    else:
        print(markdown(figures) if given.markdown else table(figures))
        print(f"\n{machine()}; rounds: {rounds}, medians; ratios are taken round by round.")
        for words in ground.absent:
            print(f"absent: {words}")
        goals = [figure.met for figure in figures if figure.met is not None]
        print(f"{sum(goals)} of {len(goals)} goals are met")


if __name__ == "__main__":
    main()
