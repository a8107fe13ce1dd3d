"""All SQL of metrics, one function a statement or two; what it loads in rows, it also reads."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
from pydantic import TypeAdapter

from schemas.entries import Entry
from schemas.events import EntityKey
from schemas.segments import Segment
from services.metrics.cohorts import OpenEntry, Worked
from services.metrics.records import (
    ESCALATION,
    TASK,
    Placed,
    PlacedEscalation,
    PlacedTask,
)
from services.metrics.seen import Columns, Seen, Sight, columns_of
from services.postgres import Connection
from services.sql import queries
from services.states import hash_states

SQL = queries(Path(__file__).with_name("queries.sql"))
_PLACE: TypeAdapter[Placed] = TypeAdapter(Placed)
_SEGMENT_COLUMNS: Final = (
    "number",
    "service_date",
    "started_at",
    "ended_at",
    "seconds",
    "placement_id",
    "assistant_id",
    "role",
    "country",
    "phase",
    "task_type",
    "task_id",
    "matter_ref",
    "kind",
    "billable",
    "standing",
)
_segment_values = attrgetter(*_SEGMENT_COLUMNS)


@dataclass(frozen=True, slots=True)
class PlacedEntry:
    """An entry with its segments; an open one with its known instant and its place."""

    entry: Entry
    segments: tuple[Segment, ...]
    open_at: datetime | None
    open_place: Placed | None


class LogPlace(NamedTuple):
    """The first offset of a partition that a firm's figures do not know yet."""

    topic: str
    partition: int
    next: int


# Saving


async def save_tasks(
    conn: Connection, saved: Sequence[tuple[EntityKey, PlacedTask | None]]
) -> None:
    """Write folded tasks, and remove those of which nothing stands."""
    await _remove(conn, SQL.remove_tasks, saved)
    rows = [_task_row(key, placed) for key, placed in saved if placed is not None]
    if rows:
        await conn.execute(SQL.save_tasks, *_columns(rows))


def _task_row(key: EntityKey, placed: PlacedTask) -> tuple[Any, ...]:
    return (
        key.firm_id,
        key.entity_id,
        placed.task.placement_id,
        *columns_of(placed.task),
        TASK.dump_json(placed).decode(),
    )


async def save_escalations(
    conn: Connection, saved: Sequence[tuple[EntityKey, PlacedEscalation | None]]
) -> None:
    """Write folded escalations about no task, and remove those of which nothing stands."""
    await _remove(conn, SQL.remove_escalations, saved)
    rows = [
        (
            key.firm_id,
            key.entity_id,
            placed.place.placement_id,
            placed.escalations[0].raised_at if placed.escalations else None,
            ESCALATION.dump_json(placed).decode(),
        )
        for key, placed in saved
        if placed is not None
    ]
    if rows:
        await conn.execute(SQL.save_escalations, *_columns(rows))


async def save_entries(
    conn: Connection, saved: Sequence[tuple[EntityKey, PlacedEntry | None]]
) -> None:
    """Write folded entries with their segments, and remove those of which nothing stands."""
    if not saved:
        return
    await _remove(conn, SQL.remove_entries, saved)
    await conn.execute(SQL.remove_segments, *_columns([_id(key) for key, _ in saved]))
    kept = [(key, placed) for key, placed in saved if placed is not None]
    rows = [
        (
            *_id(key),
            placed.entry.placement_id,
            placed.entry.status,
            placed.entry.version,
            placed.open_at,
            None if placed.open_place is None else _PLACE.dump_json(placed.open_place).decode(),
        )
        for key, placed in kept
    ]
    if rows:
        await conn.execute(SQL.save_entries, *_columns(rows))
    parts = [
        (*_id(key), *_segment_values(segment))
        for key, placed in kept
        for segment in placed.segments
    ]
    if parts:
        await conn.execute(SQL.insert_segments, *_columns(parts))


async def _remove(conn: Connection, sql: str, saved: Sequence[tuple[EntityKey, Any]]) -> None:
    gone = [_id(key) for key, state in saved if state is None]
    if gone:
        await conn.execute(sql, *_columns(gone))


def _id(key: EntityKey) -> tuple[str, str]:
    return key.firm_id, key.entity_id


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


# Loading: rows as they come. They are many, so whoever asks reads them outside the transaction.


async def load_tasks(
    conn: Connection, firm_id: str, since: datetime, until: datetime, *, and_open: bool
) -> list[asyncpg.Record]:
    """Load the tasks that anchor in [since, until), and those open in it when asked for."""
    sql = SQL.load_tasks_and_open if and_open else SQL.load_tasks
    return await conn.fetch(sql, firm_id, since, until)


async def load_escalations(
    conn: Connection, firm_id: str, since: datetime, until: datetime
) -> list[asyncpg.Record]:
    """Load the escalations about no task that were raised in [since, until)."""
    return await conn.fetch(SQL.load_escalations, firm_id, since, until)


async def load_worked(
    conn: Connection, firm_id: str, from_date: date, to_date: date
) -> list[asyncpg.Record]:
    """Load the parts of entries on the dates [from_date, to_date)."""
    return await conn.fetch(SQL.load_worked, firm_id, from_date, to_date)


async def load_open_entries(
    conn: Connection, firm_id: str, since: datetime, until: datetime
) -> list[asyncpg.Record]:
    """Load timers that have only one end, by that instant, in [since, until)."""
    return await conn.fetch(SQL.load_open_entries, firm_id, since, until)


async def load_cut(conn: Connection, firm_id: str) -> tuple[list[LogPlace], int]:
    """Load how far the log has told us of a firm, and how many entities' last fold failed."""
    *places, last = await conn.fetch(SQL.load_cut, firm_id)
    return [LogPlace(*row) for row in places], last["next"]


# Reading rows


def read_tasks(rows: Iterable[asyncpg.Record]) -> list[Seen]:
    """Read the rows of `load_tasks`."""
    sight = Sight()
    return [sight.see(Columns(*columns), state) for *columns, state in rows]


def read_escalations(rows: Iterable[asyncpg.Record]) -> list[PlacedEscalation]:
    """Read the rows of `load_escalations`."""
    return [ESCALATION.validate_json(row["state"]) for row in rows]


def read_worked(rows: Iterable[asyncpg.Record]) -> list[Worked]:
    """Read the rows of `load_worked`; equal places are one value."""
    places: dict[tuple[Any, ...], Placed] = {}
    found = []
    for row in rows:
        *placed, entry_id, day, started_at, seconds = row
        key = tuple(placed)
        place = places.get(key) or places.setdefault(key, Placed(*key))
        found.append(Worked(entry_id, place, day, started_at, seconds))
    return found


def read_open_entries(rows: Iterable[asyncpg.Record]) -> list[OpenEntry]:
    """Read the rows of `load_open_entries`."""
    return [
        OpenEntry(row["entry_id"], row["open_at"], _PLACE.validate_json(row["open_place"]))
        for row in rows
    ]


# Proving


async def state_hash(conn: Connection) -> str:
    """Hash all state that comes from the log: equal logs give equal hashes, however they came.

    Positions, row versions and the time of storing are not state. Runs as the writer.
    """
    return await hash_states(
        conn,
        SQL,
        (
            "load_task_states",
            "load_escalation_states",
            "load_entry_states",
            "load_segment_states",
            "load_directory_states",
        ),
    )
