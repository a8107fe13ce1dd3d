"""Progress for people: a line for each step, with its time, and a sign of life while it lasts."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status


class Teller:
    """Tells one step after the other; on a terminal the present one moves, elsewhere lines stand.

    A step that is told again with other figures ("3 of 46") is still the same step there.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._step = ""
        self._began = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.done()
        elif self._status is not None:
            self._status.stop()

    def say(self, words: str) -> None:
        """Tell what is done now; what was told before is done then."""
        if self._without_figures(words) == self._without_figures(self._step):
            if self._status is not None:
                self._status.update(words)
            self._step = words
            return
        self.done()
        self._step, self._began = words, time.monotonic()
        if self._console.is_terminal:
            self._status = self._console.status(words)
            self._status.start()
        else:
            self._console.print(f"· {words}")

    def done(self) -> None:
        """Tell that the present step is done."""
        if self._status is not None:
            self._status.stop()
            self._status = None
            self._console.print(f"✓ {self._step} ({time.monotonic() - self._began:.1f} s)")
        self._step = ""

    @staticmethod
    def _without_figures(words: str) -> str:
        return "".join(c for c in words if not c.isdigit())
