"""What is sent in a schedule: a small lively month, with every kind of trouble among its events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from random import Random
from zlib import crc32

from schemas.envelope import read_event
from schemas.events import EntityKey, entity_of
from services.demo.workload import ADMIN, Sent, simulate
from services.demo.world import World

PERIOD = "2026-07"
INVOICE_DATE = "2026-08-05"
IDLE_FIRM = "firm-003"  # nothing is due there: its month is settled without a document
UNKNOWN_AT_FIRST = "pl-0004"  # its work comes before anybody has told who works there
REQUEST_EVENTS = 12
HOT_REQUEST_EVENTS = 50
SAMPLE = 11
RARE = ("amended", "voided", "retracted", "defect", "reopened", "cancelled", "escalation")
LATE_TYPES = ("phase_changed", "country_changed", "calendar_changed")

Request = tuple[bytes, ...]
Identity = tuple[str, str, EntityKey]


@dataclass(frozen=True)
class Workload:
    """`first` is sent before all; then every sender sends its requests, side by side."""

    world: World
    first: tuple[Request, ...]
    senders: Mapping[str, tuple[Request, ...]]

    @property
    def requests(self) -> Iterable[Request]:
        """All that is sent."""
        yield from self.first
        for requests in self.senders.values():
            yield from requests

    @property
    def identities(self) -> frozenset[Identity]:
        """Name every event that is sent, once."""
        return frozenset(identity_of(body) for request in self.requests for body in request)

    @property
    def event_count(self) -> int:
        """Count what is sent, copies included."""
        return sum(map(len, self.requests))


def identity_of(body: bytes) -> Identity:
    """Name an event for ever."""
    event = read_event(body)
    return event.source, event.id, entity_of(event.type, event.data)


@lru_cache(maxsize=4)
def workload(copies: int) -> Workload:
    """Make the month: late, doubled, amended, voided, retracted events; one comes `copies` times.

    The principal before a sender's `/` is who sends; a sender's own order is part of the month.
    """
    month = simulate(3, 1, seed=5, first_day=date(2026, 7, 1))
    rng = Random("the order of sending")
    rare = _rare_entities(month.events)
    kept = [sent for sent in month.events if _is_kept(sent.body, rare)]
    early, late = _parts_of_directory(month.directory)
    senders: dict[str, list[Sent]] = {}
    for sent in kept:
        senders.setdefault(sent.principal, []).append(sent)
    requests = {
        principal: _disturb(_requests([sent.body for sent in found]), rng)
        for principal, found in sorted(senders.items())
    }
    requests[f"{ADMIN}/late"] = tuple((sent.body,) for sent in late)
    hot = next(sent for sent in kept if b"time.recorded" in sent.body)
    requests[f"{hot.principal}/hot"] = tuple(
        (hot.body,) * min(HOT_REQUEST_EVENTS, copies - begun)
        for begun in range(0, copies, HOT_REQUEST_EVENTS)
    )
    return Workload(month.world, _requests([sent.body for sent in early]), requests)


def _rare_entities(events: Iterable[Sent]) -> frozenset[EntityKey]:
    return frozenset(
        identity_of(sent.body)[2]
        for sent in events
        if any(word in read_event(sent.body).type for word in RARE)
    )


def _is_kept(body: bytes, rare: frozenset[EntityKey]) -> bool:
    """Keep the whole history of a few entities, rather more of those with a rare event."""
    entity = identity_of(body)[2]
    if entity.firm_id == IDLE_FIRM:
        return False
    return crc32(entity.entity_id.encode()) % SAMPLE < (4 if entity in rare else 1)


def _parts_of_directory(directory: Iterable[Sent]) -> tuple[list[Sent], list[Sent]]:
    """Part what is told first from what comes in the middle of the work, and refolds it."""
    early: list[Sent] = []
    late: list[Sent] = []
    for sent in directory:
        event = read_event(sent.body)
        unknown = entity_of(event.type, event.data).entity_id == UNKNOWN_AT_FIRST
        changes = any(word in event.type for word in LATE_TYPES)
        (late if unknown or changes else early).append(sent)
    return early, late


def _requests(bodies: Sequence[bytes]) -> tuple[Request, ...]:
    return tuple(
        tuple(bodies[start : start + REQUEST_EVENTS])
        for start in range(0, len(bodies), REQUEST_EVENTS)
    )


def _disturb(requests: Sequence[Request], rng: Random) -> tuple[Request, ...]:
    """Send a part much too late, and a part twice."""
    on_time = [request for request in requests if rng.random() > 0.2]
    late = [request for request in requests if request not in on_time]
    twice = [request for request in requests if rng.random() < 0.2]
    rng.shuffle(late)
    return tuple(on_time + late + twice)
