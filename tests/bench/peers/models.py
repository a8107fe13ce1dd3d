"""The events as a peer would model them: pydantic as its documentation shows it, nothing more."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
TaskType = Literal[
    "document_prep",
    "calendar_deadlines",
    "filing_service",
    "matter_file",
    "client_comms",
    "intake",
    "scheduling",
    "inbox_admin",
]


class Data(BaseModel):
    model_config = ConfigDict(extra="forbid")

    firm_id: Id
    placement_id: Id


class TaskRequested(Data):
    task_id: Id
    task_type: TaskType
    matter_ref: str | None = None
    requested_by: Id
    sla_class: Id | None = None
    due_at: AwareDatetime | None = None
    workflow_ref: str | None = None
    self_created: bool = False


class TaskStep(Data):
    task_id: Id
    assistant_id: Id | None = None
    attempt: int | None = None
    hold_id: Id | None = None
    reason: str | None = None
    output_ref: str | None = None


class Review(Data):
    task_id: Id
    attempt: int
    outcome: Literal["accepted", "accepted_with_corrections", "changes_requested", "rejected"]
    reviewer_id: Id
    reviewer_role: Literal["attorney", "office_manager", "qa"]
    review_mode: Literal["attorney", "qa_sample", "auto_timeout"]
    review_minutes: int | None = None
    correction_minutes: int | None = None


class Defect(Data):
    task_id: Id
    defect_id: Id
    attempt: int | None = None
    severity: Literal["critical", "major", "minor"]
    category: str
    found_stage: Literal["review", "post_acceptance"]


class Escalation(Data):
    escalation_id: Id
    task_id: Id | None = None
    category: str | None = None
    blocking: bool = False
    disposition: Literal["needed", "unnecessary"] | None = None


class Timer(Data):
    entry_id: Id
    task_id: Id | None = None
    task_type: TaskType
    matter_ref: str | None = None
    billable: bool = True


class TimeRecorded(Timer):
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    kind: Literal["work", "rework", "training", "meeting", "idle"]
    revision: int | None = None
    reason: str | None = None


class TimeVoided(Data):
    entry_id: Id
    revision: int
    reason: str


class Retracted(Data):
    target_source: str
    target_id: str
    entry_id: Id | None = None
    task_id: Id | None = None
    reason: str


class Event(BaseModel):
    specversion: Literal["1.0"]
    id: Annotated[str, Field(min_length=1, max_length=128)]
    source: Annotated[str, Field(min_length=1, max_length=256)]
    time: AwareDatetime
    subject: str | None = None
    datacontenttype: Literal["application/json"] = "application/json"


class Requested(Event):
    type: Literal["turnsheet.task.requested.v1"]
    data: TaskRequested


class Stepped(Event):
    type: Literal[
        "turnsheet.task.assigned.v1",
        "turnsheet.task.reassigned.v1",
        "turnsheet.task.acknowledged.v1",
        "turnsheet.task.started.v1",
        "turnsheet.task.resumed.v1",
        "turnsheet.task.held.v1",
        "turnsheet.task.submitted.v1",
        "turnsheet.task.reopened.v1",
        "turnsheet.task.cancelled.v1",
    ]
    data: TaskStep


class Reviewed(Event):
    type: Literal["turnsheet.review.completed.v1"]
    data: Review


class Reported(Event):
    type: Literal["turnsheet.defect.reported.v1"]
    data: Defect


class Escalated(Event):
    type: Literal[
        "turnsheet.escalation.raised.v1",
        "turnsheet.escalation.acknowledged.v1",
        "turnsheet.escalation.resolved.v1",
    ]
    data: Escalation


class Timed(Event):
    type: Literal["turnsheet.timer.started.v1", "turnsheet.timer.stopped.v1"]
    data: Timer


class Recorded(Event):
    type: Literal["turnsheet.time.recorded.v1", "turnsheet.time.amended.v1"]
    data: TimeRecorded


class Voided(Event):
    type: Literal["turnsheet.time.voided.v1"]
    data: TimeVoided


class TakenBack(Event):
    type: Literal["turnsheet.event.retracted.v1"]
    data: Retracted


AnyEvent = Annotated[
    Requested | Stepped | Reviewed | Reported | Escalated | Timed | Recorded | Voided | TakenBack,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)
EVENTS: TypeAdapter[list[AnyEvent]] = TypeAdapter(list[AnyEvent])


def topic_of(event: Event, prefix: str) -> str:
    """Say where an event goes."""
    is_time = isinstance(event, Timed | Recorded | Voided) or (
        isinstance(event, TakenBack) and event.data.entry_id is not None
    )
    return prefix + ("time-events" if is_time else "task-events")


def now_text() -> str:
    """Stamp a record."""
    return datetime.now().astimezone().isoformat()
