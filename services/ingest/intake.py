"""Intake: from the items of a body to what goes on the log, and what each sender is told."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter, ValidationError

from schemas.envelope import Envelope, Unreadable, read_event, read_events_at_once
from schemas.events import EntityKey, entity_of
from schemas.fields import EventId, Source
from schemas.instants import instant_text
from schemas.strict_json import Refusal, parse
from services.ingest.admission import (
    Denial,
    Sender,
    judge_standing,
    judge_time,
    standing_key,
)
from services.ingest.batches import STRUCTURED, Item

_COSTLY: Final = {"event_too_large", "too_many_values"}  # of these no name is looked for
_SOURCE: Final = TypeAdapter[str](Source)
_EVENT_ID: Final = TypeAdapter[str](EventId)


class Taken(NamedTuple):
    """An event that could be read, at its place in the body, with the sender's bytes."""

    place: int
    raw: bytes
    event: Envelope

    @property
    def entity(self) -> EntityKey:
        """What the event belongs to."""
        return entity_of(self.event.type, self.event.data)


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that is not taken, and why; source and id as far as they could be read."""

    place: int
    source: str | None
    id: str | None
    code: str
    pointer: str
    detail: str
    retry_at: datetime | None = None


def read_items(items: Sequence[Item], first: int) -> Sequence[Taken | Refused]:
    """Read each item; `first` is the place in the body of the first of them."""
    return read_at_once(items, first) or list(_read_each(items, first))


def read_at_once(items: Sequence[Item], first: int) -> list[Taken] | None:
    """Read items as `read_items` does, or say None when one of them has to be read alone."""
    raws = [item for item in items if isinstance(item, bytes)]
    events = read_events_at_once(raws) if len(raws) == len(items) else None
    return None if events is None else list(map(Taken, count(first), raws, events))


def _read_each(items: Iterable[Item], first: int) -> Iterator[Taken | Refused]:
    for place, item in enumerate(items, first):
        if isinstance(item, Refusal):
            yield Refused(place, None, None, *item)
            continue
        try:
            yield Taken(place, item, read_event(item))
        except Unreadable as error:
            names = (None, None) if error.refusal.code in _COSTLY else _name(item)
            yield Refused(place, *names, *error.refusal)


def _name(raw: bytes) -> tuple[str | None, str | None]:
    """Say source and id of an event that breaks a rule, where they break none themselves."""
    try:
        content = parse(raw)
    except Unreadable:
        return None, None
    members = content if isinstance(content, dict) else {}
    source, event_id = (members.get(name) for name in ("source", "id"))
    return _told(_SOURCE, source), _told(_EVENT_ID, event_id)


def _told(model: TypeAdapter[str], given: Any) -> str | None:
    """Repeat a name to its sender; what is none may be words."""
    try:
        return model.validate_python(given, strict=True)
    except ValidationError:
        return None


def placements_named(read: Iterable[Taken | Refused]) -> list[str]:
    """Return the placements that events speak of, each once, sorted."""
    named = {
        getattr(one.event.data, "placement_id", None) for one in read if isinstance(one, Taken)
    }
    return sorted(placement_id for placement_id in named if placement_id is not None)


def admit(
    sender: Sender,
    read: Iterable[Taken | Refused],
    *,
    now: datetime,
    firm_of_placement: Mapping[str, str],
) -> list[Taken | Refused]:
    """Judge each event that could be read; what was refused before stays so."""
    admitted: list[Taken | Refused] = []
    judged: dict[tuple[str, str | None, str | None, str], Denial | None] = {}
    for one in read:
        if isinstance(one, Refused):
            admitted.append(one)
            continue
        key = standing_key(one.event)
        if key not in judged:
            judged[key] = judge_standing(sender, one.event, firm_of_placement=firm_of_placement)
        denial = judged[key] or judge_time(sender, one.event, now)
        admitted.append(one if denial is None else _refused(one, denial))
    return admitted


def _refused(one: Taken, denial: Denial) -> Refused:
    code, pointer, retry_at = denial
    return Refused(one.place, *one_name(one), code, pointer, denial.detail, retry_at)


def one_name(one: Taken | Refused) -> tuple[str | None, str | None]:
    """Say an event's source and id."""
    if isinstance(one, Taken):
        return one.event.source, one.event.id
    return one.source, one.id


def headers_of(
    received_at: datetime, principal: str, traceparent: str | None
) -> list[tuple[str, bytes]]:
    """Write the headers that every record of a request carries."""
    headers = [
        ("content-type", STRUCTURED.encode()),
        ("received_at", instant_text(received_at).encode()),
        ("principal", principal.encode()),
    ]
    return headers + ([("traceparent", traceparent.encode())] if traceparent else [])


def result_of(one: Taken | Refused) -> dict[str, Any]:
    """Write what the sender is told of one event."""
    source, event_id = one_name(one)
    told = {"index": one.place, "source": source, "id": event_id}
    if isinstance(one, Taken):
        told["status"] = "accepted"
        return told
    told |= {"status": "rejected", "code": one.code, "pointer": one.pointer, "detail": one.detail}
    return told | ({"retry_at": instant_text(one.retry_at)} if one.retry_at else {})


def answer_of(outcomes: Sequence[Taken | Refused]) -> dict[str, Any]:
    """Write the answer to a request of whose events at least one was taken."""
    accepted = sum(isinstance(one, Taken) for one in outcomes)
    return {
        "accepted": accepted,
        "rejected": len(outcomes) - accepted,
        "results": [result_of(one) for one in outcomes],
    }
