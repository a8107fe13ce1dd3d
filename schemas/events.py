"""Every event that trackers, firms, admins and tools send: a model a type, a table of types."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import (
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from schemas.directory_events import (
    AssistantChanged,
    AssistantRegistered,
    AssistantVetted,
    FirmCalendarChanged,
    FirmChanged,
    FirmRegistered,
    PlacementAbsenceRecorded,
    PlacementControlRecorded,
    PlacementCountryChanged,
    PlacementEnded,
    PlacementPhaseChanged,
    PlacementRoleChanged,
    PlacementShiftChanged,
    PlacementSourceChanged,
    PlacementStarted,
)
from schemas.fields import (
    NO_FIRM,
    Attempt,
    Code,
    Data,
    DefectCategory,
    EscalationCategory,
    EventId,
    FirmData,
    HoldReason,
    Id,
    Kind,
    Minutes,
    Outcome,
    PlacementData,
    Ref,
    ReviewerRole,
    ReviewMode,
    Severity,
    Source,
    TaskType,
    WorkKind,
)
from schemas.instants import Day, Instant


class TaskData(PlacementData):
    """Data of an event about one task."""

    task_id: Id


class TaskRequested(TaskData):
    """Work that was asked for; `due_at` is the requester's own deadline."""

    task_type: TaskType
    matter_ref: Ref | None = None
    requested_by: Id
    sla_class: Id | None = None
    due_at: Instant | None = None
    workflow_ref: Ref | None = None
    task_group_id: Id | None = None
    self_created: bool = False


class TaskAssigned(TaskData):
    """Data of `task.assigned` and `task.reassigned`."""

    assistant_id: Id


class TaskMoved(TaskData):
    """Data of `task.acknowledged` and `task.started`."""

    attempt: Attempt | None = None


class TaskHeld(TaskData):
    """Data of `task.held` and `task.resumed`: the pair shares a `hold_id`."""

    hold_id: Id
    reason: HoldReason


class TaskSubmitted(TaskData):
    """Work handed in for review."""

    attempt: Attempt
    output_ref: Ref | None = None


class ReviewCompleted(TaskData):
    """A review's verdict on one attempt."""

    attempt: Attempt
    outcome: Outcome
    reviewer_id: Id
    reviewer_role: ReviewerRole
    review_mode: ReviewMode
    review_minutes: Minutes | None = None
    correction_minutes: Minutes | None = None


class DefectReported(TaskData):
    """A fault in one attempt, found in review or after acceptance."""

    defect_id: Id
    attempt: Attempt | None = None
    severity: Severity
    category: DefectCategory
    found_stage: Literal["review", "post_acceptance"]
    opportunities: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class TaskReasoned(TaskData):
    """Data of `task.reopened` and `task.cancelled`."""

    reason: Code


class EscalationData(PlacementData):
    """Data of an event about one escalation; with a `task_id` it belongs to that task."""

    escalation_id: Id
    task_id: Id | None = None


class EscalationRaised(EscalationData):
    """A question put to the firm; `blocking` pauses the task."""

    category: EscalationCategory
    blocking: bool = False


class EscalationAcknowledged(EscalationData):
    """The firm has seen the question."""

    handling_minutes: Minutes | None = None


class EscalationResolved(EscalationData):
    """The firm has answered, and says whether it was right to ask."""

    disposition: Literal["needed", "unnecessary"]
    handling_minutes: Minutes | None = None


class EntryData(PlacementData):
    """Data of an event about one time entry."""

    entry_id: Id


class TimerMoved(EntryData):
    """Data of `timer.started` and `timer.stopped`: the pair shares an `entry_id`."""

    task_id: Id | None = None
    task_type: TaskType
    matter_ref: Ref | None = None
    note_ref: Ref | None = None
    billable: bool = True


ENTRY_MAX = timedelta(days=400)  # a slip in a year would be thousands of dates to bill
# Which of started_at, ended_at, work_date and duration_seconds an entry may lack.
_SHAPES = {(False, False, True, True), (True, True, False, False)}


class TimeRecorded(EntryData):
    """A whole entry: an interval, or a duration on a date of the firm."""

    started_at: Instant | None = None
    ended_at: Instant | None = None
    work_date: Day | None = None
    duration_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = None
    task_id: Id | None = None
    task_type: TaskType
    matter_ref: Ref | None = None
    note_ref: Ref | None = None
    activity_code: Id | None = None
    task_code: Id | None = None
    kind: WorkKind
    billable: bool

    @model_validator(mode="after")
    def one_shape(self) -> Self:
        """Refuse an entry that is neither an interval nor a duration, or both, or has no end."""
        if self.started_at and self.ended_at and self.ended_at - self.started_at > ENTRY_MAX:
            raise PydanticCustomError(
                "entry_too_long", f"an entry lasts at most {ENTRY_MAX.days} days"
            )
        interval = (self.started_at is None, self.ended_at is None)
        duration = (self.work_date is None, self.duration_seconds is None)
        if (*interval, *duration) not in _SHAPES:
            raise PydanticCustomError(
                "entry_shape",
                "give started_at and ended_at, or work_date and duration_seconds, not a mix",
            )
        return self


class TimeAmended(TimeRecorded):
    """A later revision of an entry: all its fields again."""

    revision: Annotated[int, Field(ge=1, le=1_000_000)]
    reason: Code


class TimeVoided(EntryData):
    """A later revision of an entry that takes it away."""

    revision: Annotated[int, Field(ge=1, le=1_000_000)]
    reason: Code


class EventRetracted(FirmData):
    """Takes back one event: it names the target's identity and the target's entity."""

    placement_id: Id | None = None
    target_source: Source
    target_id: EventId
    task_id: Id | None = None
    escalation_id: Id | None = None
    entry_id: Id | None = None
    reason: Code

    @model_validator(mode="after")
    def one_entity(self) -> Self:
        """Refuse a retraction that names no entity, or several."""
        if sum(x is not None for x in (self.task_id, self.escalation_id, self.entry_id)) != 1:
            raise PydanticCustomError(
                "retraction_target", "name exactly one of task_id, escalation_id and entry_id"
            )
        return self


class EventType(NamedTuple):
    """A row of the table of types: who may send it, and the entity kind it belongs to."""

    name: str
    data: type[Data]
    kind: Kind | None  # None: read from the data, see `entity_of`
    senders: frozenset[str]


def _types() -> Iterator[EventType]:
    """The table, in the order in which events of one instant are folded (its rank)."""

    def row(name: str, data: type[Data], kind: Kind | None, senders: str) -> EventType:
        return EventType(f"turnsheet.{name}.v1", data, kind, frozenset(senders.split()))

    yield row("task.requested", TaskRequested, "task", "firm tracker connection")
    yield row("task.assigned", TaskAssigned, "task", "firm admin connection")
    yield row("task.reassigned", TaskAssigned, "task", "firm admin connection")
    yield row("task.acknowledged", TaskMoved, "task", "tracker connection")
    yield row("task.started", TaskMoved, "task", "tracker connection")
    yield row("task.resumed", TaskHeld, "task", "tracker firm connection")
    yield row("task.held", TaskHeld, "task", "tracker firm connection")
    yield row("task.submitted", TaskSubmitted, "task", "tracker connection")
    yield row("review.completed", ReviewCompleted, "task", "firm qa")
    yield row("defect.reported", DefectReported, "task", "firm qa")
    yield row("task.reopened", TaskReasoned, "task", "firm connection")
    yield row("task.cancelled", TaskReasoned, "task", "firm connection")
    yield row("escalation.raised", EscalationRaised, None, "tracker")
    yield row("escalation.acknowledged", EscalationAcknowledged, None, "firm")
    yield row("escalation.resolved", EscalationResolved, None, "firm")
    yield row("time.recorded", TimeRecorded, "entry", "tracker connection")
    yield row("timer.started", TimerMoved, "entry", "tracker connection")
    yield row("timer.stopped", TimerMoved, "entry", "tracker connection")
    yield row("time.amended", TimeAmended, "entry", "tracker connection")
    yield row("time.voided", TimeVoided, "entry", "tracker connection")
    yield row("event.retracted", EventRetracted, None, "tracker firm connection qa admin")
    yield row("firm.registered", FirmRegistered, "firm", "admin")
    yield row("firm.changed", FirmChanged, "firm", "admin")
    yield row("firm.calendar_changed", FirmCalendarChanged, "firm", "admin")
    yield row("assistant.registered", AssistantRegistered, "assistant", "admin")
    yield row("assistant.changed", AssistantChanged, "assistant", "admin")
    yield row("assistant.vetted", AssistantVetted, "assistant", "admin")
    yield row("placement.started", PlacementStarted, "placement", "admin")
    yield row("placement.phase_changed", PlacementPhaseChanged, "placement", "admin")
    yield row("placement.country_changed", PlacementCountryChanged, "placement", "admin")
    yield row("placement.role_changed", PlacementRoleChanged, "placement", "admin")
    yield row("placement.shift_changed", PlacementShiftChanged, "placement", "admin")
    yield row("placement.source_changed", PlacementSourceChanged, "placement", "admin")
    yield row("placement.absence_recorded", PlacementAbsenceRecorded, "placement", "admin")
    yield row("placement.control_recorded", PlacementControlRecorded, "placement", "admin")
    yield row("placement.ended", PlacementEnded, "placement", "admin")


TYPES: dict[str, EventType] = {t.name: t for t in _types()}
RANKS: dict[str, int] = {name: rank for rank, name in enumerate(TYPES)}


class EntityKey(NamedTuple):
    """The one thing an event belongs to; all facts of a key are folded together."""

    firm_id: str
    kind: Kind
    entity_id: str


def entity_of(type_name: str, data: Data) -> EntityKey:
    """Return the entity that an event of this type and data belongs to."""
    firm_id = getattr(data, "firm_id", NO_FIRM)
    kind = TYPES[type_name].kind
    if kind is not None:
        return EntityKey(firm_id, kind, getattr(data, f"{kind}_id"))
    assert isinstance(data, EventRetracted | EscalationData)
    if data.task_id is not None:
        return EntityKey(firm_id, "task", data.task_id)
    if isinstance(data, EventRetracted) and data.entry_id is not None:
        return EntityKey(firm_id, "entry", data.entry_id)
    assert data.escalation_id is not None
    return EntityKey(firm_id, "escalation", data.escalation_id)


TOPIC_OF_KIND: dict[Kind, str] = {
    "task": "task-events",
    "escalation": "task-events",
    "entry": "time-events",
    "firm": "directory",
    "assistant": "directory",
    "placement": "directory",
}


def topic_of(type_name: str, data: Data) -> str:
    """Return the topic, without its prefix, on which an event of this type and data goes."""
    return TOPIC_OF_KIND[TYPES[type_name].kind or entity_of(type_name, data).kind]


TOPICS = ("directory", "task-events", "time-events")
