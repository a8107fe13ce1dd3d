"""Log files that do not grow for ever."""

from pathlib import Path
from typing import Final

LOG_BYTES_MAX: Final = 16 * 1024 * 1024


def turn(log: Path) -> None:
    """Put a log that has grown large aside, in the place of the one before; call at a start."""
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.old"))
