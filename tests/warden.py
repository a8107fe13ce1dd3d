"""Ends what a test run has started, once the run itself is over, however it ended.

Its standard input is a pipe that the run alone holds open: when that ends, so has the run, be it by
SIGKILL. What belongs to the run is known by the folder: its environment names it, or, where it was
given a bare one as Postgres is, its data (`-D`) lie there. Children belong to it with their parent.
"""

import shutil
import sys
from itertools import pairwise
from pathlib import Path

import psutil

from tests import servers

ROUNDS_MAX = 20  # what is being started meanwhile is found by the next
MYSELF = "tests.warden"


def main() -> None:
    """Wait for the end of the run of a folder, and end the rest of it."""
    folder = Path(sys.argv[1])
    sys.stdin.buffer.read()
    servers.stop(folder)
    for _ in range(ROUNDS_MAX):
        if not (left := processes_of(folder)):
            break
        for process in left:
            process.kill()
        psutil.wait_procs(left, 5)
    shutil.rmtree(folder, ignore_errors=True)  # these may have written while it was removed


def processes_of(folder: Path) -> set[psutil.Process]:
    """Find the processes that were started by a run or by one of these.

    Not the run itself, and no warden: each ends by itself, after its own run.
    """
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        try:
            if _is_of(process, folder):
                family = [process, *process.children(recursive=True)]
                found.update(one for one in family if MYSELF not in one.cmdline())
        except psutil.Error:
            continue
    return found


def _is_of(process: psutil.Process, folder: Path) -> bool:
    if process.environ().get(servers.VARIABLE) == str(folder):
        return True
    return any(
        option == "-D" and Path(value).is_relative_to(folder)
        for option, value in pairwise(process.cmdline())
    )


if __name__ == "__main__":
    main()
