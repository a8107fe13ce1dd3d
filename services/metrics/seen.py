"""A task as figures see it, read off its row: the columns' instants, and what its state adds.

The whole folded task is not made again: its thirty-odd values cost ten times what is read here, and
their instants carry another kind of zone, which makes each comparison cost twenty times as much.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast

from pydantic_core import from_json

from schemas.fields import HoldReason
from services.metrics.records import OPEN, Placed, State, Task

PAUSES: frozenset[HoldReason] = frozenset(
    {"waiting_on_firm", "waiting_on_client", "waiting_on_third_party"}
)


class Columns(NamedTuple):
    """What stands beside a task's state in its row, to find it by and to count from."""

    present: State
    first_at: datetime
    requested_at: datetime | None
    first_worked_at: datetime | None
    first_submitted_at: datetime | None
    first_reviewed_at: datetime | None
    accepted_at: datetime | None
    cancelled_at: datetime | None
    open_until: datetime | None


class Seen(NamedTuple):
    """A task as figures see it; `waits` are what stops a clock: [from, to), to None: not over.

    is_reviewed    a person reviewed it, ever
    is_first_pass  the review that decides accepted it as it was
    states         from the first fact on, as they are stored
    """

    task_id: str
    place: Placed
    is_type_allowed: bool
    columns: Columns
    due_at: datetime | None
    is_reviewed: bool
    is_first_pass: bool
    is_escalated: bool
    waits: tuple[tuple[datetime, datetime | None], ...]
    has_workflow: bool
    has_anomalies: bool
    states: Sequence[Mapping[str, str]]

    def state_at(self, instant: datetime) -> State | None:
        """Return the state in which the task was at an instant; None before its first fact."""
        if instant < self.columns.first_at:
            return None
        found: State | None = None
        for change in self.states:
            if datetime.fromisoformat(change["since"]) > instant:
                break
            found = cast("State", change["state"])
        return found

    def is_open_at(self, instant: datetime) -> bool:
        """Say whether the task was open at an instant; for most, the columns suffice."""
        first_at, open_until = self.columns.first_at, self.columns.open_until
        if instant < first_at or (open_until is not None and open_until <= instant):
            return False
        return self.state_at(instant) in OPEN


def columns_of(task: Task) -> Columns:
    """Say what stands beside a task's state in its row."""
    return Columns(
        present=task.state,
        first_at=task.states[0].since,
        requested_at=task.requested_at,
        first_worked_at=task.first_worked_at,
        first_submitted_at=task.first_submitted_at,
        first_reviewed_at=task.first_outcome.at if task.first_outcome else None,
        accepted_at=task.accepted_at,
        cancelled_at=task.cancelled_at,
        open_until=task.open_until,
    )


class Sight:
    """A reader of tasks' rows. Tasks are many and their places few: equal ones are one value."""

    def __init__(self) -> None:
        self._places: dict[tuple[object, ...], Placed] = {}

    def see(self, columns: Columns, state: str | bytes) -> Seen:
        """Read a row: its columns, and the state as `records.TASK` wrote it."""
        told = from_json(state)
        task = told["task"]
        decides = _deciding(task["reviews"])
        return Seen(
            task_id=task["task_id"],
            place=self._place(told["place"]),
            is_type_allowed=told["is_type_allowed"],
            columns=columns,
            due_at=_instant(task["due_at"]),
            is_reviewed=decides is not None and decides["mode"] != "auto_timeout",
            is_first_pass=decides is not None and decides["outcome"] == "accepted",
            is_escalated=bool(task["escalations"]),
            waits=_waits(task),
            has_workflow=task["workflow_ref"] is not None,
            has_anomalies=bool(task["anomalies"]),
            states=task["states"],
        )

    def _place(self, told: Mapping[str, Any]) -> Placed:
        key = tuple(told.values())
        return self._places.get(key) or self._places.setdefault(key, Placed(**told))


def _deciding(reviews: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Find the review that `Task.first_outcome` names: of a person, or else of a timeout."""
    if len(reviews) < 2:
        return reviews[0] if reviews else None
    human = [review for review in reviews if review["mode"] != "auto_timeout"]
    return min(human or reviews, key=lambda review: (review["attempt"], _instant(review["at"])))


def _waits(task: Mapping[str, Any]) -> tuple[tuple[datetime, datetime | None], ...]:
    """List the holds for a reason that stops a clock, and the blocking escalations."""
    if not task["holds"] and not task["escalations"]:
        return ()
    told = [(h["started_at"], h["ended_at"]) for h in task["holds"] if h["reason"] in PAUSES]
    told += [(e["raised_at"], e["pause_ended_at"]) for e in task["escalations"] if e["blocking"]]
    return tuple((datetime.fromisoformat(since), _instant(until)) for since, until in told)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
