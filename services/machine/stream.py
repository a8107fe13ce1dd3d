"""Logs on the terminal: each part's new lines behind its name, in colour, readable by people."""

import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

COLOURS: Final = {"ingest": 36, "metrics": 35, "billing": 33, "kafka": 34, "postgres": 32}
ALARMS: Final = {"warning": 33, "error": 31, "critical": 31}
LOUD: Final = ("WARN", "ERROR", "FATAL", "PANIC")  # of the servers only what somebody should read
BOUND: Final = frozenset({"event", "level", "timestamp", "service"})
POLL_SECONDS: Final = 0.2


class LogStream:
    """Follows log files from their present end and writes what comes to a terminal."""

    def __init__(self, logs: Mapping[str, Path], out: IO[str], *, colours: bool) -> None:
        self._out = out
        self._colours = colours
        self._logs = dict(logs)
        self._seen = {name: _size(path) for name, path in self._logs.items()}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="log-stream", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is still there, and end."""
        self._stop.set()
        self._thread.join(2)

    def _follow(self) -> None:
        with suppress(OSError):  # whoever read the terminal has gone: the logs are in their files
            while not self._stop.wait(POLL_SECONDS):
                self._copy()
            self._copy()

    def _copy(self) -> None:
        for name in self._logs:
            for line in self._new_lines(name):
                if (shown := render(name, line, colours=self._colours)) is not None:
                    self._out.write(f"{shown}\n")
        self._out.flush()

    def _new_lines(self, name: str) -> list[str]:
        """Read what a log has got; one that cannot be read now is looked at again later."""
        size = _size(self._logs[name])
        if size < self._seen[name]:
            self._seen[name] = 0  # a new file took its place
        if size == self._seen[name]:
            return []
        try:
            with self._logs[name].open("rb") as file:
                file.seek(self._seen[name])
                text = file.read(size - self._seen[name])
        except OSError:
            return []
        whole = text.rfind(b"\n") + 1
        self._seen[name] += whole
        return text[:whole].decode(errors="replace").splitlines()


def render(name: str, line: str, *, colours: bool) -> str | None:
    """Put one line of a log for people; None: nobody needs to see it."""

    def paint(text: str, code: int | None) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colours and code is not None else text

    prefix = paint(f"{name:8} │", COLOURS.get(name))
    if name not in {"ingest", "metrics", "billing"}:
        return f"{prefix} {line}" if any(word in line for word in LOUD) else None
    try:
        event = json.loads(line)
        time_of_day = str(event["timestamp"])[11:19]
        level, words = str(event["level"]), str(event["event"])
    except (ValueError, KeyError, TypeError):
        return f"{prefix} {line}"
    facts = " ".join(f"{key}={_plain(value)}" for key, value in event.items() if key not in BOUND)
    level_shown = "" if level == "info" else paint(f"{level} ", ALARMS.get(level))
    return f"{prefix} {paint(time_of_day, 2)} {level_shown}{words} {paint(facts, 2)}".rstrip()


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
