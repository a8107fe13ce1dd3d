"""All SQL of metrics, one function a statement: folded values in, folded values out."""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import asyncpg

from schemas.events import EntityKey
from schemas.segments import Segment
from services.metrics.records import CLOSED, ESCALATION, TASK, PlacedEscalation, PlacedTask
from services.postgres import Connection
from services.sql import queries

SQL = queries(Path(__file__).with_name("queries.sql"))
Segments = tuple[Segment, ...]


async def save_tasks(
    conn: Connection, saved: Sequence[tuple[EntityKey, PlacedTask | None]]
) -> None:
    """Write folded tasks, and remove those of which nothing stands."""
    gone = [key for key, placed in saved if placed is None]
    await _remove(conn, SQL.remove_tasks, gone)
    kept = [(key, placed) for key, placed in saved if placed is not None]
    if kept:
        await conn.execute(
            SQL.save_tasks,
            [key.firm_id for key, _ in kept],
            [key.entity_id for key, _ in kept],
            [placed.task.placement_id for _, placed in kept],
            [_first_at(placed) for _, placed in kept],
            [placed.task.states[-1].since for _, placed in kept],
            [placed.task.state in CLOSED for _, placed in kept],
            [TASK.dump_json(placed).decode() for _, placed in kept],
        )


def _first_at(placed: PlacedTask) -> datetime:
    first = placed.task.states[0].since
    return min(first, placed.task.requested_at or first)


async def save_escalations(
    conn: Connection, saved: Sequence[tuple[EntityKey, PlacedEscalation | None]]
) -> None:
    """Write folded escalations, and remove those of which nothing stands."""
    standing = [(k, placed) for k, placed in saved if placed is not None and placed.escalations]
    kept = {key for key, _ in standing}
    await _remove(conn, SQL.remove_escalations, [key for key, _ in saved if key not in kept])
    if standing:
        await conn.execute(
            SQL.save_escalations,
            [key.firm_id for key, _ in standing],
            [key.entity_id for key, _ in standing],
            [placed.place.placement_id for _, placed in standing],
            [placed.escalations[0].raised_at for _, placed in standing],
            [ESCALATION.dump_json(placed).decode() for _, placed in standing],
        )


async def save_segments(conn: Connection, saved: Sequence[tuple[EntityKey, Segments]]) -> None:
    """Replace the segments of some entries."""
    await _remove(conn, SQL.remove_segments, [key for key, _ in saved])
    rows = [(key.firm_id, *_columns(segment)) for key, cut in saved for segment in cut]
    if rows:
        await conn.execute(SQL.append_segments, *map(list, zip(*rows, strict=True)))


def _columns(segment: Segment) -> tuple[Any, ...]:
    return (
        segment.entry_id, segment.number, segment.service_date, segment.placement_id,
        segment.assistant_id, segment.role, segment.country, segment.phase, segment.task_type,
        segment.task_id, segment.kind, segment.billable, segment.standing, segment.seconds,
    )  # fmt: skip


async def _remove(conn: Connection, statement: str, keys: Sequence[EntityKey]) -> None:
    if keys:
        firm_ids = [key.firm_id for key in keys]
        await conn.execute(statement, firm_ids, [key.entity_id for key in keys])


async def load_tasks(
    conn: Connection, firm_id: str, start: datetime, end: datetime
) -> tuple[PlacedTask, ...]:
    """Load a firm's tasks that a window [start, end) may touch."""
    rows = await conn.fetch(SQL.load_tasks, firm_id, start, end)
    return tuple(TASK.validate_json(row["state"]) for row in rows)


async def load_task(conn: Connection, firm_id: str, task_id: str) -> PlacedTask | None:
    """Load one task."""
    state = await conn.fetchval(SQL.load_task, firm_id, task_id)
    return None if state is None else TASK.validate_json(state)


async def load_escalations(
    conn: Connection, firm_id: str, start: datetime, end: datetime
) -> tuple[PlacedEscalation, ...]:
    """Load a firm's escalations about no task, raised in [start, end)."""
    rows = await conn.fetch(SQL.load_escalations, firm_id, start, end)
    return tuple(ESCALATION.validate_json(row["state"]) for row in rows)


async def load_segments(
    conn: Connection, firm_id: str, start_date: date, end_date: date
) -> Sequence[asyncpg.Record]:
    """Load a firm's hours on [start_date, end_date), a row a segment."""
    return await conn.fetch(SQL.load_segments, firm_id, start_date, end_date)


async def state_hash(conn: Connection) -> str:
    """Return one hash over all folded state: equal sets of facts give equal hashes."""
    found: str = await conn.fetchval(SQL.hash_states)
    return found
