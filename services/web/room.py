"""What a process has in hand, and no more than it can hold: requests, and the bytes of bodies.

Beyond what it can do soon, the cheapest thing to do with a request is to refuse it before anything
is read or looked up: then all that is taken on is still done, and whoever was refused comes again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import Counter, Gauge

from services.web.problems import Problem, unavailable

REFUSED: Final = Counter(
    "turnsheet_http_overloaded_total", "Requests refused for want of room, by what was full.",
    ["full"],
)  # fmt: skip
IN_HAND: Final = Gauge("turnsheet_http_requests_in_hand", "Requests that are being worked on.")
HELD_BYTES: Final = Gauge("turnsheet_http_held_bytes", "Bytes of bodies that are being worked on.")


class Room:
    """The room of one process."""

    def __init__(self, requests_max: int, bytes_max: int) -> None:
        self.requests_max = requests_max
        self.bytes_max = bytes_max
        self.requests = 0
        self.bytes = 0
        IN_HAND.set_function(lambda: self.requests)
        HELD_BYTES.set_function(lambda: self.bytes)

    @contextmanager
    def place(self, *, coming: bool = False) -> Iterator["Place"]:
        """Give a request its place until it is answered. Raises Problem 503 when there is none.

        One that is still coming is no work, whoever sends it: it takes a place when it has come.
        """
        if self.requests >= self.requests_max:
            raise overloaded("requests")
        place = Place(self, coming=coming)
        self._count(requests=0 if coming else 1)
        try:
            yield place
        finally:
            self._count(requests=0 if place.coming else -1, size=-place.held)

    def _count(self, *, requests: int = 0, size: int = 0) -> None:
        self.requests += requests
        self.bytes += size


class Place:
    """One request's part of the room; `coming` while its client still sends."""

    __slots__ = ("_room", "coming", "held")

    def __init__(self, room: Room, *, coming: bool) -> None:
        self._room = room
        self.coming = coming
        self.held = 0

    def hold(self, size: int) -> None:
        """Count bytes that are kept until the answer. Raises Problem 503 when they do not fit."""
        if self._room.bytes + size > self._room.bytes_max:
            raise overloaded("bytes")
        self.held += size
        self._room._count(size=size)  # noqa: SLF001 (a part of the room)

    def come(self) -> None:
        """Count a request that was coming: from now on it is work.

        It finds twice the places that newcomers do. Raises Problem 503 when these are taken too.
        """
        self.coming = False
        self._room._count(requests=1)  # noqa: SLF001 (likewise)
        if self._room.requests > 2 * self._room.requests_max:
            raise overloaded("requests")


def overloaded(full: str) -> Problem:
    """Answer when there is no room; `full` says of what, for the counter."""
    REFUSED.labels(full).inc()
    return unavailable(
        "overloaded",
        "More comes than can be done: nothing of this was, send it again later",
        retry_after_seconds=1,
    )
