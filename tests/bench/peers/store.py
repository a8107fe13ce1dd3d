"""What the stream peers do with an event: a row of the same table that we write, as an upsert."""

from collections.abc import Sequence
from typing import Any

from models import EVENT, Data

COLUMNS = (
    "firm_id text", "topic text", "partition int", "offset bigint", "kind text", "entity_id text",
    "placement_id text", "source text", "event_id text", "type text", "event_time timestamptz",
    "received_at timestamptz", "principal text", "content_hash bytea", "body bytea",
)  # fmt: skip
NAMES = ", ".join(f'"{column.split()[0]}"' for column in COLUMNS)


def upsert(mark: str) -> str:
    """Write the statement; `mark` is how the driver writes a parameter."""
    values = ", ".join(
        f"{mark.format(n)}::{column.split()[1]}[]" for n, column in enumerate(COLUMNS, 1)
    )
    return (  # (no client's words are in it)
        f"insert into bench.fact ({NAMES}) select * from unnest({values}) "
        'on conflict (firm_id, topic, partition, "offset") do update '
        "set body = excluded.body, type = excluded.type"
    )


def row_of(raw: bytes, topic: str, partition: int, offset: int) -> tuple[Any, ...]:
    """Validate an event and make its row."""
    event = EVENT.validate_json(raw)
    data: Data = event.data
    kind = "entry" if hasattr(data, "entry_id") and data.entry_id else "task"
    entity_id = getattr(data, f"{kind}_id", None) or getattr(data, "escalation_id", "-")
    return (
        data.firm_id,
        topic,
        partition,
        offset,
        kind,
        entity_id,
        data.placement_id,
        event.source,
        event.id,
        event.type,
        event.time,
        event.time,
        "tracker:peer",
        b"",
        raw,
    )


def columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Turn rows into columns."""
    return [list(column) for column in zip(*rows, strict=True)]
