"""Ends what a test run has started, once the run itself is over, however it ended.

Its standard input is a pipe that the run alone holds open: when that ends, so has the run, be it by
SIGKILL. What belongs to the run is known by the folder that its environment names.
"""

import os
import sys
from pathlib import Path

import psutil

from tests import servers

ROUNDS_MAX = 20  # what is being started meanwhile is found by the next


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


def processes_of(folder: Path) -> list[psutil.Process]:
    """Find the processes that were started by a run or by one of these; not the run itself."""
    found = []
    for process in psutil.process_iter():
        try:
            is_of_it = process.environ().get(servers.VARIABLE) == str(folder)
        except psutil.Error:
            continue
        if is_of_it and process.pid != os.getpid():
            found.append(process)
    return found


if __name__ == "__main__":
    main()
