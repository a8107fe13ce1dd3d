"""A poll's facts behind the fence: records are read while Postgres writes those read before."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiokafka import ConsumerRecord

from schemas.facts import Fact
from schemas.fields import Kind
from services.log_applying import Batch, Fenced
from services.log_records import FactRow, Parked, fact_row, parked_row, read_record
from services.postgres import Connection
from services.sql import queries

YIELD_EVERY: Final = 100
WRITE_RECORDS: Final = 500  # are written while the next are read
SQL = queries(Path(__file__).with_name("folding.sql"))


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


def columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """Turn rows into the arrays that a statement takes."""
    return [list(column) for column in zip(*rows, strict=True)]
