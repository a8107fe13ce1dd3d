"""Metrics' reading of the log: tasks, escalations and time entries, each with its place."""

from collections.abc import Sequence
from typing import Any

from schemas.directory import Directory
from schemas.entries import fold_entry
from schemas.events import EntityKey
from schemas.facts import Fact
from schemas.segments import split
from services.folding import Reading
from services.metrics import store
from services.metrics.escalations import fold_escalation
from services.metrics.store import PlacedEntry
from services.metrics.tasks import fold_task, place_task, place_work
from services.postgres import Connection


def fold(key: EntityKey, facts: Sequence[Fact], directory: Directory) -> Any:
    """Fold one entity and place it; None when nothing of it stands."""
    if key.kind == "task":
        task = fold_task(facts)
        return None if task is None else place_task(task, directory)
    if key.kind == "escalation":
        return fold_escalation(facts, directory)
    return _fold_entry(facts, directory)


def _fold_entry(facts: Sequence[Fact], directory: Directory) -> PlacedEntry | None:
    entry = fold_entry(facts)
    if entry is None:
        return None
    at = (entry.started_at or entry.ended_at) if entry.status == "open" else None
    place = None if at is None else place_work(entry.placement_id, entry.task_type, at, directory)
    return PlacedEntry(entry, split(entry, directory), at, place)


async def save(conn: Connection, saved: Sequence[tuple[EntityKey, Any]]) -> None:
    """Write folded states, and remove what nothing stands of."""
    for kind, write in (
        ("task", store.save_tasks),
        ("escalation", store.save_escalations),
        ("entry", store.save_entries),
    ):
        await write(conn, [(key, state) for key, state in saved if key.kind == kind])


def _parts(state: Any) -> int:
    return len(state.segments) if isinstance(state, PlacedEntry) else 1


READING = Reading(
    "metrics",
    ("directory", "task-events", "time-events"),
    frozenset({"task", "escalation", "entry"}),
    fold,
    save,
    _parts,
)
