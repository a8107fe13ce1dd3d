"""The pace of a machine: whoever waits for a processor that others use is late without a fault."""

from pathlib import Path


class Pace:
    """A stretch of time from now on, and how many times longer work takes in it than it should.

    That is measured on a process's first thread, which runs its loop; without an id on our own.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._counts = Path("/proc", "self" if pid is None else str(pid), "schedstat")
        self._ran, self._waited = self._read()

    def times(self) -> float:
        """Say how many times longer its work has taken so far; 1 on an idle machine.

        What is promised in seconds holds where a processor is to be had: the slack that a test
        gives for work is multiplied by this, a deadline that a timer keeps is not.
        """
        ran, waited = self._read()
        return 1 + (waited - self._waited) / max(ran - self._ran, 1)

    def late(self, seconds: float, promised: float = 0.0) -> float:
        """Say how long after what was promised something came, had no other used the processor."""
        return (seconds - promised) / self.times()

    def _read(self) -> tuple[int, int]:
        """Return nanoseconds that the thread ran, and that it waited to."""
        if not self._counts.exists():  # not Linux: nobody says how long it waited
            return 0, 0
        ran, waited, _ = self._counts.read_text().split()
        return int(ran), int(waited)
