"""The fold of a task: its lawful moves as a table, everything else kept and counted as odd."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeVar

from schemas.directory import Directory
from schemas.events import (
    DefectReported,
    EscalationRaised,
    ReviewCompleted,
    TaskAssigned,
    TaskHeld,
    TaskMoved,
    TaskRequested,
    TaskSubmitted,
)
from schemas.facts import Cut, Fact
from schemas.fields import PlacementData, TaskType
from schemas.instants import whole_second
from schemas.order import Anomaly, order_key, reception_key, standing
from schemas.periods import local_date
from services.metrics import pairs
from services.metrics.records import (
    CLOSED,
    Defect,
    Placed,
    PlacedTask,
    Review,
    Start,
    State,
    StateChange,
    Submission,
    Task,
)

D = TypeVar("D")

_TO_WORK: Final[dict[State, State]] = {
    "requested": "requested",
    "assigned": "assigned",
    "in_progress": "in_progress",
    "on_hold": "on_hold",
    "changes_requested": "changes_requested",
}
# What is told of the work itself, by whoever does it.
WORK: Final = (TaskMoved, TaskHeld, TaskSubmitted, EscalationRaised)
_HELD: Final = "turnsheet.task.held.v1"
_RESUMED: Final = "turnsheet.task.resumed.v1"
_ACKNOWLEDGED: Final = "turnsheet.task.acknowledged.v1"

# By what is told, from which state to which. What is not here is an impossible move.
MOVES: Final[dict[str, dict[State, State]]] = {
    "turnsheet.task.assigned.v1": {"requested": "assigned"},
    "turnsheet.task.reassigned.v1": _TO_WORK | {"requested": "assigned", "submitted": "submitted"},
    _ACKNOWLEDGED: _TO_WORK,
    "turnsheet.task.started.v1": {
        "requested": "in_progress",
        "assigned": "in_progress",
        "in_progress": "in_progress",
        "changes_requested": "in_progress",
    },
    _HELD: dict.fromkeys(_TO_WORK, "on_hold"),
    "turnsheet.task.submitted.v1": dict.fromkeys(_TO_WORK, "submitted"),
    "accepted": {"submitted": "accepted"},
    "accepted_with_corrections": {"submitted": "accepted"},
    "changes_requested": {"submitted": "changes_requested"},
    "rejected": {"submitted": "rejected"},
    "turnsheet.task.reopened.v1": dict.fromkeys(CLOSED, "in_progress"),
    "turnsheet.task.cancelled.v1": dict.fromkeys((*_TO_WORK, "submitted"), "cancelled"),
}


def fold_task(facts: Iterable[Fact], cut: Cut | None = None) -> Task | None:
    """Fold all facts of one task, in whatever order they come. None when nothing of it stands."""
    stood = standing(facts, cut)
    if not stood.facts:
        return None
    odd = set(stood.anomalies)
    facts = _meant(stood.facts, odd)
    submitted = _submissions(facts, odd)
    ordered = _place_reviews(facts, submitted, odd)
    held, hold_stretches = pairs.holds(ordered)
    escalated, escalation_oddities = pairs.escalations(ordered)
    odd |= hold_stretches.anomalies | escalation_oddities
    assignments = _told(ordered, TaskAssigned)
    request, data = next(iter(_told(ordered, TaskRequested)), (None, None))
    key = ordered[0].entity
    return Task(
        firm_id=key.firm_id,
        task_id=key.entity_id,
        placement_id=_placement(assignments[-1][0] if assignments else request or ordered[0]),
        task_type=data.task_type if data else None,
        matter_ref=data.matter_ref if data else None,
        requested_at=whole_second(request.time) if request else None,
        requested_by=data.requested_by if data else None,
        self_created=data.self_created if data else False,
        sla_class=data.sla_class if data else None,
        due_at=whole_second(data.due_at) if data and data.due_at else None,
        workflow_ref=data.workflow_ref if data else None,
        task_group_id=data.task_group_id if data else None,
        states=_walk(ordered, hold_stretches, odd),
        acknowledgements=_starts(ordered, acknowledged=True),
        starts=_starts(ordered, acknowledged=False),
        submissions=tuple(
            Submission(attempt, whole_second(fact.time))
            for attempt, fact in sorted(submitted.items(), key=lambda item: item[0])
        ),
        reviews=tuple(_review(fact, told) for fact, told in _told(ordered, ReviewCompleted)),
        defects=_defects(ordered, odd),
        holds=held,
        escalations=escalated,
        anomalies=tuple(sorted(odd)),
    )


def place_task(task: Task, directory: Directory) -> PlacedTask:
    """Say where a task belongs, as the directory stood on the firm-local date of its request."""
    place = place_work(task.placement_id, task.task_type, task.requested_at, directory)
    placement = directory.placements.get(task.placement_id)
    allowed = placement.allowed_task_types if placement else None
    is_allowed = allowed is None or task.task_type is None or task.task_type in allowed
    return PlacedTask(task, place, is_allowed)


def place_work(
    placement_id: str, task_type: TaskType | None, at: datetime | None, directory: Directory
) -> Placed:
    """Look a placement up for a piece of work that came at an instant."""
    placement = directory.placements.get(placement_id)
    if placement is None:
        return Placed(placement_id, False, None, None, None, None, task_type)
    if directory.firm is None or at is None:
        return Placed(placement_id, True, placement.assistant_id, None, None, None, task_type)
    day = local_date(at, directory.firm.timezone)
    return Placed(
        placement_id=placement_id,
        is_known=True,
        assistant_id=placement.assistant_id,
        role=placement.roles.on(day),
        country=placement.countries.on(day),
        phase=placement.phases.on(day),
        task_type=task_type,
    )


def _told(facts: Iterable[Fact], model: type[D]) -> list[tuple[Fact, D]]:
    """Return the facts of one data model, with their data."""
    return [(fact, fact.data) for fact in facts if isinstance(fact.data, model)]


def _odd(code: str, fact: Fact) -> Anomaly:
    return Anomaly(code, fact.source, fact.id)


def _meant(facts: Sequence[Fact], odd: set[Anomaly]) -> Sequence[Fact]:
    """Leave out all requests but the one received first, and work for which the task is not meant.

    That is work of a placement that neither this request nor an assignment names: else whoever
    learns a task's id could ask for it anew, earlier by his own clock, and hand it in. While nobody
    has said whose task it is, all counts.
    """
    requests = [fact for fact, _ in _told(facts, TaskRequested)]
    request = min(requests, key=reception_key, default=None)
    says_whose = (fact for fact in facts if fact is request or isinstance(fact.data, TaskAssigned))
    placements = {_placement(fact) for fact in says_whose}
    kept: list[Fact] = []
    for fact in facts:
        if isinstance(fact.data, TaskRequested) and fact is not request:
            odd.add(_odd("request_repeated", fact))
        elif placements and isinstance(fact.data, WORK) and _placement(fact) not in placements:
            odd.add(_odd("other_placement", fact))
        else:
            kept.append(fact)
    return kept


def _placement(fact: Fact) -> str:
    assert isinstance(fact.data, PlacementData)
    return fact.data.placement_id


def _submissions(facts: Sequence[Fact], odd: set[Anomaly]) -> dict[int, Fact]:
    """Return the first submission of each attempt."""
    found: dict[int, Fact] = {}
    for fact, data in _told(facts, TaskSubmitted):
        if data.attempt in found:
            odd.add(_odd("attempt_repeated", fact))
        else:
            found[data.attempt] = fact
    return found


def _place_reviews(
    facts: Sequence[Fact], submitted: dict[int, Fact], odd: set[Anomaly]
) -> tuple[Fact, ...]:
    """Put each review after its submission, and leave out timeouts that a person overtook."""
    moved = []
    for fact in facts:
        data = fact.data
        if isinstance(data, ReviewCompleted):
            submission = submitted.get(data.attempt)
            if submission is None:
                odd.add(_odd("review_without_submission", fact))
            elif fact.time < submission.time:
                odd.add(_odd("review_before_submission", fact))
                moved.append(replace(fact, time=submission.time))
                continue
        moved.append(fact)
    moved.sort(key=order_key)
    kept: list[Fact] = []
    overtaken: set[int] = set()
    for fact in reversed(moved):
        data = fact.data
        if isinstance(data, ReviewCompleted):
            if data.review_mode != "auto_timeout":
                overtaken.add(data.attempt)
            elif data.attempt in overtaken:
                continue
        kept.append(fact)
    return tuple(reversed(kept))


def _starts(facts: Sequence[Fact], *, acknowledged: bool) -> tuple[Start, ...]:
    return tuple(
        Start(whole_second(fact.time), data.attempt)
        for fact, data in _told(facts, TaskMoved)
        if (fact.type == _ACKNOWLEDGED) is acknowledged
    )


def _review(fact: Fact, data: ReviewCompleted) -> Review:
    return Review(
        attempt=data.attempt,
        at=whole_second(fact.time),
        outcome=data.outcome,
        mode=data.review_mode,
        reviewer_id=data.reviewer_id,
        reviewer_role=data.reviewer_role,
        review_minutes=data.review_minutes,
        correction_minutes=data.correction_minutes,
    )


def _defects(facts: Sequence[Fact], odd: set[Anomaly]) -> tuple[Defect, ...]:
    found: dict[str, Defect] = {}
    latest: int | None = None
    for fact in facts:
        data = fact.data
        if isinstance(data, TaskSubmitted):
            latest = data.attempt
        if not isinstance(data, DefectReported):
            continue
        if data.defect_id in found:
            odd.add(_odd("defect_repeated", fact))
            continue
        found[data.defect_id] = Defect(
            defect_id=data.defect_id,
            attempt=latest if data.attempt is None else data.attempt,
            at=whole_second(fact.time),
            severity=data.severity,
            category=data.category,
            found_stage=data.found_stage,
            opportunities=data.opportunities,
        )
    return tuple(found.values())


def _walk(
    facts: Sequence[Fact], held: pairs.Stretches, odd: set[Anomaly]
) -> tuple[StateChange, ...]:
    """Walk the states: from requested, move by move, leaving out what is impossible."""
    states = [StateChange("requested", whole_second(facts[0].time))]
    ends = {stretch.opening: stretch.end for stretch in held.found}
    closings = {stretch.closing for stretch in held.found}
    held_until: set[int | None] = set()
    held_from: State = "in_progress"
    attempt: int | None = None
    for place, fact in enumerate(facts):
        now = states[-1].state
        if fact.type == _RESUMED:
            held_until.discard(place)
            if now == "on_hold" and place in closings and not held_until:
                states.append(StateChange(held_from, whole_second(fact.time)))
            continue
        told = _move_of(fact, attempt)
        if told is None:
            continue
        then = MOVES[told].get(now) if told in MOVES else None
        if then is None:
            odd.add(_odd("impossible_move", fact))
        elif fact.type == _HELD:
            end = ends.get(place, -1)
            if end is not None and end < place:
                continue  # ended before it began, or opened inside its own stretch
            held_until.add(end)
            held_from = now if now != "on_hold" else held_from
        if isinstance(fact.data, TaskSubmitted):
            attempt = fact.data.attempt
            held_until.clear()
        if then is not None and then != now:
            states.append(StateChange(then, whole_second(fact.time)))
    return tuple(states)


def _move_of(fact: Fact, attempt: int | None) -> str | None:
    """Name the row of the table for a fact; None for what moves no task.

    A review moves only the attempt submitted last; of another one it is no move that exists.
    """
    data = fact.data
    if isinstance(data, ReviewCompleted):
        return data.outcome if data.attempt == attempt else "review_of_another_attempt"
    if isinstance(data, TaskHeld) or fact.type in MOVES:
        return fact.type
    return None
