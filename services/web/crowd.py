"""The connections of a port: when all places are taken, the oldest half-sent one makes way.

Whoever sends half a header, or half a body, costs a place and gives nothing for it. A place that an
honest client needs is taken from those first, so that no number of them keeps others out; a request
that is being served never makes way.
"""

from enum import StrEnum
from typing import Final, Protocol

from prometheus_client import Counter

EVICTED: Final = Counter(
    "turnsheet_http_evicted_total", "Connections that made way for others, by stage.", ["stage"]
)
TURNED_AWAY: Final = Counter(
    "turnsheet_http_turned_away_total", "Connections refused: every place was being served."
)


class Stage(StrEnum):
    """What a connection is at; the order is that in which they make way."""

    HALF_SENT = "half_sent"  # no whole header yet, or answered while its body still comes
    IDLE = "idle"  # between two requests
    BODY = "body"  # its header is whole, its body still comes
    SERVED = "served"
    UNREAD = "unread"  # its client does not take the answer


class Member(Protocol):
    """A connection, as the crowd sees it."""

    def make_way(self, stage: Stage) -> None:
        """Close, for others need the place more."""


class Crowd:
    """Who is in, oldest first by stage, and how many bytes of answers nobody has taken yet."""

    def __init__(self, places: int, unread_bytes: int) -> None:
        self._places = places
        self._unread_bytes = unread_bytes
        self._stage: dict[Member, Stage] = {}
        self._at: dict[Stage, dict[Member, int]] = {stage: {} for stage in Stage}
        self._unread = 0

    def __len__(self) -> int:
        """Count the connections."""
        return len(self._stage)

    def join(self, member: Member) -> bool:
        """Take a new connection in, in the place of another if need be; False: none makes way."""
        if len(self._stage) >= self._places and not any(
            self._evict(stage) for stage in (Stage.HALF_SENT, Stage.IDLE, Stage.BODY)
        ):
            TURNED_AWAY.inc()
            return False
        self.move(member, Stage.HALF_SENT)
        return True

    def move(self, member: Member, stage: Stage, unread_bytes: int = 0) -> None:
        """Note what a connection is at now; too many answers that nobody takes are cut off."""
        self.leave(member)
        self._stage[member] = stage
        self._at[stage][member] = unread_bytes
        self._unread += unread_bytes
        while self._unread > self._unread_bytes and self._evict(Stage.UNREAD):
            pass

    def leave(self, member: Member) -> None:
        """Forget a connection."""
        stage = self._stage.pop(member, None)
        if stage is not None:
            self._unread -= self._at[stage].pop(member)

    def _evict(self, stage: Stage) -> bool:
        oldest = next(iter(self._at[stage]), None)
        if oldest is None:
            return False
        self.leave(oldest)
        EVICTED.labels(stage).inc()
        oldest.make_way(stage)
        return True
