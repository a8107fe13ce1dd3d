"""Intake: from the items of a body to what goes on the log, and what each sender is told."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from schemas.envelope import Envelope, Unreadable, read_event
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

_SOURCE: Final = TypeAdapter[str](Source)
_EVENT_ID: Final = TypeAdapter[str](EventId)


@dataclass(frozen=True, slots=True)
class Taken:
    """An event that could be read, at its place in the body, with the sender's bytes."""

    index: int
    raw: bytes
    event: Envelope

    @property
    def entity(self) -> EntityKey:
        """What the event belongs to."""
        return entity_of(self.event.type, self.event.data)


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that is not taken, and why; source and id as far as they could be read."""

    index: int
    source: str | None
    id: str | None
    code: str
    pointer: str
    detail: str
    retry_at: datetime | None = None


def read_items(items: Iterable[Item], first: int) -> Iterator[Taken | Refused]:
    """Read each item; `first` is the place in the body of the first of them."""
    for index, item in enumerate(items, first):
        if isinstance(item, Refusal):
            yield Refused(index, None, None, *item)
            continue
        try:
            yield Taken(index, item, read_event(item))
        except Unreadable as error:
            yield Refused(index, *_name(item), *error.refusal)


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
        denial = None
        if isinstance(one, Taken):
            event = one.event
            key = standing_key(event)
            if key not in judged:
                judged[key] = judge_standing(sender, event, firm_of_placement=firm_of_placement)
            denial = judged[key] or judge_time(sender, event, now)
        if denial is None:
            admitted.append(one)
            continue
        code, pointer, retry_at = denial
        source, event_id = one_name(one)
        admitted.append(
            Refused(one.index, source, event_id, code, pointer, denial.detail, retry_at)
        )
    return admitted


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
    named = {"index": one.index, "source": source, "id": event_id}
    if isinstance(one, Taken):
        return named | {"status": "accepted"}
    told = {"status": "rejected", "code": one.code, "pointer": one.pointer, "detail": one.detail}
    retry = {"retry_at": instant_text(one.retry_at)} if one.retry_at else {}
    return named | told | retry


def answer_of(outcomes: Sequence[Taken | Refused]) -> dict[str, Any]:
    """Write the answer to a request of whose events at least one was taken."""
    accepted = sum(isinstance(one, Taken) for one in outcomes)
    return {
        "accepted": accepted,
        "rejected": len(outcomes) - accepted,
        "results": [result_of(one) for one in outcomes],
    }
