"""The pace of a machine: whoever waits for a processor that others use is late without a fault."""

from pathlib import Path

_COUNTS = Path("/proc/self/schedstat")  # nanoseconds that the loop's thread ran, and waited to


class Pace:
    """A stretch of time from now on, and how many times longer work takes in it than it should."""

    def __init__(self) -> None:
        self._ran, self._waited = _read()

    def times(self) -> float:
        """Say how many times longer our own work has taken so far; 1 on an idle machine.

        What is promised in seconds holds where a processor is to be had: the slack that a test
        gives for work is multiplied by this, a deadline that a timer keeps is not.
        """
        ran, waited = _read()
        return 1 + (waited - self._waited) / max(ran - self._ran, 1)

    def late(self, seconds: float, promised: float = 0.0) -> float:
        """Say how long after what was promised something came, had no other used the processor."""
        return (seconds - promised) / self.times()


def _read() -> tuple[int, int]:
    if not _COUNTS.exists():  # not Linux: nobody says how long it waited
        return 0, 0
    ran, waited, _ = _COUNTS.read_text().split()
    return int(ran), int(waited)
