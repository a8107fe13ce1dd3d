"""Facts: a poll's are written behind the fence, and an entity's are read again to fold it."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
from aiokafka import ConsumerRecord

from schemas.events import EntityKey
from schemas.facts import Fact, Position
from schemas.fields import Kind
from services.failures import Failure, attempt
from services.log_applying import Batch, Fenced
from services.log_records import (
    FactRow,
    Parked,
    fact_of_row,
    fact_row,
    key_of,
    parked_row,
    read_record,
)
from services.postgres import Connection
from services.pulse import Pulse
from services.sql import queries

YIELD_EVERY: Final = 100
WRITE_RECORDS: Final = 500  # are written while the next are read
SQL = queries(Path(__file__).with_name("folding.sql"))

Fresh = Mapping[EntityKey, Mapping[Position, Fact]]  # what a transaction has added to entities


async def advance(conn: Connection, batches: Sequence[Batch]) -> None:
    """Move the partitions on, or raise `Fenced` when one of them is no longer where it was."""
    moved = await conn.fetch(
        SQL.advance,
        *columns(
            (b.topic, b.partition, b.topic_id, b.first, b.next, b.last_digest) for b in batches
        ),
    )
    if len(moved) < len(batches):
        raise Fenced


async def append_facts(
    conn: Connection, kinds: Collection[Kind], batches: Sequence[Batch]
) -> tuple[list[Fact], list[Parked]]:
    """Write the facts of the kinds that a house keeps, and park what cannot be read.

    Records are read while Postgres writes those that were read before.
    """
    facts: list[Fact] = []
    parked: list[Parked] = []
    rows: list[FactRow] = []
    records = chain.from_iterable(batch.records for batch in batches)
    while (chunk := list(islice(records, WRITE_RECORDS))) or rows:
        read, _ = await asyncio.gather(_read(kinds, chunk), _insert_facts(conn, rows))
        facts += read.facts
        parked += read.parked
        rows = read.rows
    if parked:
        await conn.execute(SQL.insert_quarantine, *columns(map(parked_row, parked)))
    return facts, parked


class _Read(NamedTuple):
    """Records as they were read: facts that are kept, their rows, and what is parked."""

    facts: list[Fact]
    rows: list[FactRow]
    parked: list[Parked]


async def _read(kinds: Collection[Kind], records: Iterable[ConsumerRecord]) -> _Read:
    found = _Read([], [], [])
    for number, record in enumerate(records, 1):
        if number % YIELD_EVERY == 0:
            await asyncio.sleep(0)  # Postgres and the API of the same process have their turns
        read = read_record(record)
        if isinstance(read, Parked):
            found.parked.append(read)
        elif read.entity.kind in kinds:
            found.facts.append(read)
            found.rows.append(fact_row(read, record.value))
    return found


async def _insert_facts(conn: Connection, rows: Sequence[FactRow]) -> None:
    if rows:
        await conn.execute(SQL.insert_facts, *columns(rows))


async def load_facts(conn: Connection, keys: Iterable[EntityKey]) -> dict[EntityKey, list[Fact]]:
    """Load all facts of some entities, in no particular order.

    Every entity asked for is in the answer. Raises pydantic's ValidationError for a stored record
    that today's models refuse.
    """
    rows = await load_rows(conn, keys)
    return {key: [fact_of_row(row) for row in found] for key, found in rows.items()}


async def load_rows(
    conn: Connection, keys: Iterable[EntityKey]
) -> dict[EntityKey, list[asyncpg.Record]]:
    """Load the rows of all facts of some entities, each of which is in the answer."""
    rows: dict[EntityKey, list[asyncpg.Record]] = {key: [] for key in sorted(keys)}
    if not rows:
        return rows
    for row in await conn.fetch(SQL.load_facts, *key_columns(rows)):
        rows[key_of(row)].append(row)
    return rows


async def read_facts(
    conn: Connection, rows: Mapping[EntityKey, Sequence[asyncpg.Record]], fresh: Fresh
) -> tuple[dict[EntityKey, list[Fact]], dict[EntityKey, Failure]]:
    """Read stored facts entity by entity: one that cannot be read again fails alone."""
    facts: dict[EntityKey, list[Fact]] = {}
    failed: dict[EntityKey, Failure] = {}
    pulse = Pulse(conn)
    for key, found in rows.items():
        work = partial(attempt, partial(_facts, found, fresh.get(key, {})))
        read = await pulse.run(work, len(found))
        if isinstance(read, Failure):
            failed[key] = read
        else:
            facts[key] = read
    return facts, failed


def _facts(rows: Sequence[asyncpg.Record], fresh: Mapping[Position, Fact]) -> list[Fact]:
    return [
        fresh.get(Position(row["topic"], row["partition"], row["offset"])) or fact_of_row(row)
        for row in rows
    ]


def key_columns(keys: Iterable[EntityKey]) -> tuple[list[str], list[str], list[str]]:
    """Turn entities into the arrays that a statement takes."""
    found = list(keys)
    return [k.firm_id for k in found], [k.kind for k in found], [k.entity_id for k in found]


def columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """Turn rows into the arrays that a statement takes."""
    return [list(column) for column in zip(*rows, strict=True)]
