"""Logs: one structured line an event on stderr, ids and numbers only, libraries' words included.

What may hold a secret or a client's words never gets through: values that are not plain are named
by their type, keys that carry secrets or bodies are blanked, tokens and passwords inside texts too,
and an exception is told by its class and its place, without its message.
"""

import logging
import re
import sys
import time
import traceback
from collections.abc import MutableMapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal
from uuid import UUID

import structlog
from structlog.typing import EventDict, WrappedLogger

TEXT_MAX: Final = 300
ITEMS_MAX: Final = 20
FRAMES_MAX: Final = 12
BLANK: Final = "[blank]"
_SECRET_KEYS: Final = frozenset(
    {
        "authorization",
        "body",
        "cookie",
        "data",
        "description",
        "headers",
        "note",
        "password",
        "payload",
        "pepper",
        "query",
        "raw",
        "secret",
        "token",
    }
)
_SECRET_TEXT: Final = re.compile(
    r"tns_[a-z]+_[0-9A-Za-z_]+|(?<=://)[^/\s@]+@|\b(?i:bearer)\s+\S+",
)
_PLAIN: Final = (str, int, float, type(None))
_WRITTEN: Final = (datetime, date, UUID, Decimal, Path)


def set_up_logs(form: Literal["json", "console"], service: str, level: str = "info") -> None:
    """Send our events and the libraries' to stderr: JSON for machines, colours for a terminal."""
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), sort_keys=False)
    )

    def name_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            name_service,
            summarise_exception,
            redact,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # whatever that is by then
        cache_logger_on_first_use=False,
    )
    libraries = logging.DEBUG if level == "debug" else logging.WARNING
    logging.basicConfig(handlers=[LibraryHandler()], level=libraries, force=True)


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep plain values, shortened and without secrets; name what else there is by its type."""
    return {
        key: BLANK if key.lower() in _SECRET_KEYS else _plain(value) for key, value in event.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, _WRITTEN):
        return _clean(str(value))
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in list(value)[:ITEMS_MAX]]
    return f"<{type(value).__name__}>"


def _clean(text: str) -> str:
    # Each secret that the pattern finds holds one of these: most texts are not searched.
    if "tns_" in text or "@" in text or "BEARER" in text.upper():
        text = _SECRET_TEXT.sub(BLANK, text)
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"


def summarise_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Put an exception's class, its cause's and its place for `exc_info`: no message, no values.

    A driver's message may quote a row, a parser's the client's own words.
    """
    given = event.pop("exc_info", None)
    if not given:
        return event
    error = given if isinstance(given, BaseException) else sys.exc_info()[1]
    if error is None:
        return event
    event["error"] = type(error).__name__
    if sqlstate := getattr(error, "sqlstate", None):
        event["sqlstate"] = sqlstate
    if cause := error.__cause__ or error.__context__:
        event["cause"] = type(cause).__name__
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    event["place"] = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
    return event


class LibraryHandler(logging.Handler):
    """Turns what libraries log into events of ours; a text that repeats is held back."""

    WINDOW_SECONDS: Final = 10.0
    BURST: Final = 3

    def __init__(self) -> None:
        super().__init__()
        self._windows: MutableMapping[tuple[str, str], tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record, or count it when its kind was told often enough just now."""
        held_back = self._admit((record.name, str(record.msg)), time.monotonic())
        if held_back is None:
            return
        fields: dict[str, Any] = {"library": record.name, "words": record.getMessage()}
        if record.exc_info:
            # The words around an exception often quote it, and so do all lines after the first.
            fields["words"] = str(record.msg).partition("\n")[0]
            fields["exc_info"] = record.exc_info[1]
        if held_back:
            fields["held_back"] = held_back
        structlog.get_logger().log(record.levelno, "library_spoke", **fields)

    def _admit(self, kind: tuple[str, str], now: float) -> int | None:
        """Say how many of this kind were held back before this one; None: hold it back too."""
        began, count = self._windows.get(kind, (now, 0))
        if now - began >= self.WINDOW_SECONDS:
            held_back = max(0, count - self.BURST)
            self._windows[kind] = (now, 1)
            return held_back
        if len(self._windows) > 1_000:
            self._windows.clear()
        self._windows[kind] = (began, count + 1)
        return 0 if count < self.BURST else None
