"""The long replay: a year of 200 firms, a million events, in every way that they may come.

Every way (1, 2 and 8 partitions, 1, 2 and 4 processes of each house, rebuilds under load) must give
the same hashes of both read models and of all invoices; the first that differs ends it with 1.
"""

import argparse
import signal
import sys
import tempfile
from asyncio import run
from datetime import date
from pathlib import Path

from tests import servers
from tests.order.replaying import Hashes, Way, narrator, plan, replay

WAYS = (Way(1, 1), Way(8, 4), Way(2, 2, rebuilds=2), Way(2, 4), Way(8, 1))
EVENTS_OF_A_FIRM_MONTH = 2080  # as the simulation has them, about


def main() -> int:
    """Replay a simulated span in every way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--firms", type=int, default=200)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--events", type=int, default=1_000_000, help="about how many in all")
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    say = narrator(lambda words: (sys.stdout.write(words), sys.stdout.flush()))
    whole = told.firms * told.months * EVENTS_OF_A_FIRM_MONTH
    days = min(31, max(3, -(-31 * told.events // whole)))
    planned = plan(told.firms, told.months, told.seed, date(2025, 7, 1), days)
    say(f"{planned.event_count} events of {told.firms} firms in {told.months} months")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped then too
    folder = servers.prepare()
    found: dict[Way, Hashes] = {}
    try:
        with tempfile.TemporaryDirectory(dir=folder) as home:
            for way in WAYS:
                found[way] = run(replay(planned, way, Path(home), say))
                say(f"{way}: {found[way]}")
                if len(set(found.values())) > 1:
                    again = " ".join([".venv/bin/python -m tests.order.long_replay", *sys.argv[1:]])
                    say(f"differs; replay: {again}")
                    return 1
    finally:
        servers.stop(folder)
    say(f"{len(found)} ways, equal hashes, {found[WAYS[0]].invoice_count} invoices")
    return 0


if __name__ == "__main__":
    sys.exit(main())
