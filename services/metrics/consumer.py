"""Metrics' reading of the log: tasks, escalations and the hours worked."""

from collections.abc import Sequence
from typing import Any

from schemas.directory import Directory
from schemas.entries import fold_entry
from schemas.events import EntityKey
from schemas.facts import Fact
from schemas.segments import split
from services.folding import Reading
from services.metrics.escalations import fold_escalation
from services.metrics.store import save_escalations, save_segments, save_tasks
from services.metrics.tasks import fold_task, place_task
from services.postgres import Connection


def fold(key: EntityKey, facts: Sequence[Fact], directory: Directory) -> Any:
    """Fold an entity of whatever kind; None when nothing of a task or escalation stands."""
    if key.kind == "task":
        task = fold_task(facts)
        return None if task is None else place_task(task, directory)
    if key.kind == "escalation":
        return fold_escalation(facts, directory)
    entry = fold_entry(facts)
    return () if entry is None else split(entry, directory)


async def save(conn: Connection, saved: Sequence[tuple[EntityKey, Any]]) -> None:
    """Write folded entities, each kind into its table."""
    await save_tasks(conn, [item for item in saved if item[0].kind == "task"])
    await save_escalations(conn, [item for item in saved if item[0].kind == "escalation"])
    await save_segments(conn, [item for item in saved if item[0].kind == "entry"])


READING = Reading(
    "metrics",
    ("directory", "task-events", "time-events"),
    frozenset({"task", "escalation", "entry"}),
    fold,
    save,
)
