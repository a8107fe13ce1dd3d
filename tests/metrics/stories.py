"""Stories of tasks, written short: a line is a time and what was told, and a fold makes a task."""

from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.facts import Cut, Fact
from services.metrics.records import TASK as STATE
from services.metrics.records import Placed, PlacedTask, Task
from services.metrics.seen import Seen, Sight, columns_of
from services.metrics.tasks import fold_task
from tests.schemas.histories import TASK, History

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
REQUEST = {"task_type": "document_prep", "requested_by": "att-1"}
REVIEW = {
    "attempt": 1,
    "outcome": "accepted",
    "reviewer_id": "att-1",
    "reviewer_role": "attorney",
    "review_mode": "attorney",
}
HOLD = {"hold_id": "h", "reason": "waiting_on_client"}
DEFECT = {
    "defect_id": "d",
    "severity": "minor",
    "category": "formatting",
    "found_stage": "review",
}
# A word, the event that it stands for, and the data that every one of its kind needs.
WORDS: dict[str, tuple[str, dict[str, Any]]] = {
    "requested": ("task.requested", REQUEST),
    "assigned": ("task.assigned", {"assistant_id": "asst-1"}),
    "reassigned": ("task.reassigned", {"assistant_id": "asst-1"}),
    "acknowledged": ("task.acknowledged", {}),
    "started": ("task.started", {}),
    "held": ("task.held", HOLD),
    "resumed": ("task.resumed", HOLD),
    "submitted": ("task.submitted", {"attempt": 1}),
    "reviewed": ("review.completed", REVIEW),
    "timeout": ("review.completed", REVIEW | {"review_mode": "auto_timeout"}),
    "defect": ("defect.reported", DEFECT),
    "reopened": ("task.reopened", {"reason": "other"}),
    "cancelled": ("task.cancelled", {"reason": "other"}),
    "raised": ("escalation.raised", {"escalation_id": "x", "category": "ambiguity"}),
    "seen": ("escalation.acknowledged", {"escalation_id": "x"}),
    "resolved": ("escalation.resolved", {"escalation_id": "x", "disposition": "needed"}),
}


def minute(number: float) -> datetime:
    """The instant some minutes after noon, UTC."""
    return NOON + timedelta(minutes=number)


def tell(*lines: tuple[Any, ...], task_id: str = TASK) -> list[Fact]:
    """Write facts: each line is (minute, word) or (minute, word, more data)."""
    history = History()
    for at, word, *more in lines:
        name, data = WORDS[word]
        given = more[0] if more else {}
        history.add(name, minute(at), task_id=task_id, **(data | given))
    return history.facts


def folded(facts: list[Fact], cut: Cut | None = None) -> Task:
    """Fold facts of which something stands."""
    task = fold_task(facts, cut)
    assert task is not None
    return task


def task_of(*lines: tuple[Any, ...], task_id: str = TASK) -> Task:
    """Fold the task that some lines tell."""
    return folded(tell(*lines, task_id=task_id))


def seen(task: Task, place: Placed, *, is_type_allowed: bool = True) -> Seen:
    """See a task as figures do: by way of what its row says."""
    written = STATE.dump_json(PlacedTask(task, place, is_type_allowed))
    return Sight().see(columns_of(task), written)
