"""Records of the log: read into facts, or parked with the reason, and read again from our table."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
from aiokafka import ConsumerRecord
from pydantic import TypeAdapter, ValidationError

from schemas.envelope import Unreadable, envelope_model, read_fact
from schemas.events import TOPIC_OF_KIND, EntityKey
from schemas.facts import Fact, Position
from schemas.fields import PlacementData
from schemas.instants import Instant
from services.failures import Failure, attempt

CONTENT_TYPE = "application/cloudevents+json"
PRINCIPAL = re.compile(r"[a-z][a-z_]*:[\x21-\x7e]{1,200}")
_INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)


class Parked(NamedTuple):
    """A record that cannot be read, and why: a code, and a pointer into its JSON if it has one."""

    record: ConsumerRecord
    code: str
    pointer: str


def read_record(record: ConsumerRecord) -> Fact | Parked:
    """Read a record as a fact, or say why it is parked. Never raises.

    A type that we do not know is parked too, and can be driven again once we know it.
    """
    read = attempt(lambda: _read(record))
    return Parked(record, "unforeseen", read.reason) if isinstance(read, Failure) else read


def _read(record: ConsumerRecord) -> Fact | Parked:
    if record.value is None:
        return Parked(record, "no_value", "")
    headers: Mapping[str, bytes | None] = dict(record.headers)
    content_type = (headers.get("content-type") or b"").partition(b";")[0].strip()
    if content_type != CONTENT_TYPE.encode():
        return Parked(record, "header_content_type", "")
    principal = (headers.get("principal") or b"").decode("ascii", "replace")
    if PRINCIPAL.fullmatch(principal) is None:
        return Parked(record, "header_principal", "")
    try:
        stamp = (headers.get("received_at") or b"").decode("ascii", "replace")
        received_at = _INSTANT.validate_python(stamp)
    except ValidationError:
        return Parked(record, "header_received_at", "")
    position = Position(record.topic, record.partition, record.offset)
    try:
        fact = read_fact(
            record.value, received_at=received_at, principal=principal, position=position
        )
    except Unreadable as error:
        return Parked(record, error.refusal.code, error.refusal.pointer)
    if record.key != fact.entity.firm_id.encode():
        return Parked(record, "wrong_key", "/data/firm_id")
    if not record.topic.endswith(TOPIC_OF_KIND[fact.entity.kind]):
        return Parked(record, "wrong_topic", "/type")
    return fact


def placement_of(fact: Fact) -> str | None:
    """Return the placement that a fact names."""
    return fact.data.placement_id if isinstance(fact.data, PlacementData) else None


FactRow = tuple[Any, ...]


def fact_row(fact: Fact, body: bytes) -> FactRow:
    """Write a fact as a row of the table `fact`, without what the database adds."""
    return (
        fact.entity.firm_id,
        *fact.position,
        fact.entity.kind,
        fact.entity.entity_id,
        placement_of(fact),
        fact.source,
        fact.id,
        fact.type,
        fact.time,
        fact.received_at,
        fact.principal,
        fact.content_hash,
        body,
    )


def parked_row(parked: Parked) -> tuple[Any, ...]:
    """Write a parked record as a row of the table `quarantine`, with nothing of it lost.

    A header's bytes are written as the characters of the same numbers (latin-1), so that what
    can be read stays readable and the record can be driven again as it was.
    """
    record = parked.record
    headers = [[name, None if v is None else v.decode("latin-1")] for name, v in record.headers]
    return (
        record.topic,
        record.partition,
        record.offset,
        parked.code,
        parked.pointer,
        record.key,
        record.value,
        json.dumps(headers),
    )


def key_of(row: asyncpg.Record) -> EntityKey:
    """Read the key of an entity out of a row."""
    return EntityKey(row["firm_id"], row["kind"], row["entity_id"])


def fact_of_row(row: asyncpg.Record) -> Fact:
    """Read a stored fact again from the log's own bytes; they were checked when they came."""
    event = envelope_model(row["type"]).model_validate_json(row["body"])
    return Fact(
        entity=key_of(row),
        source=event.source,
        id=event.id,
        type=event.type,
        time=event.time,
        sequence=event.sequence,
        received_at=row["received_at"],
        principal=row["principal"],
        content_hash=row["content_hash"],
        data=event.data,
        position=Position(row["topic"], row["partition"], row["offset"]),
    )
