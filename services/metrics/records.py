"""What is known of a task: the values that its fold makes and its figures read."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import TypeAdapter

from schemas.fields import (
    DefectCategory,
    EscalationCategory,
    HoldReason,
    Outcome,
    Phase,
    ReviewerRole,
    ReviewMode,
    Role,
    Severity,
    TaskType,
)
from schemas.order import Anomaly

State = Literal[
    "requested",
    "assigned",
    "in_progress",
    "on_hold",
    "submitted",
    "changes_requested",
    "accepted",
    "rejected",
    "cancelled",
]
CLOSED: frozenset[State] = frozenset({"accepted", "rejected", "cancelled"})
# A submitted task waits for the firm's review: it is not the assistant's to finish.
OPEN: frozenset[State] = frozenset(
    {"requested", "assigned", "in_progress", "on_hold", "changes_requested"}
)


@dataclass(frozen=True, slots=True)
class StateChange:
    """A state and the instant from which the task was in it."""

    state: State
    since: datetime


@dataclass(frozen=True, slots=True)
class Start:
    """An acknowledgement or a start of work; `attempt` as its sender counted, if at all."""

    at: datetime
    attempt: int | None


@dataclass(frozen=True, slots=True)
class Submission:
    """The first submission of an attempt."""

    attempt: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Review:
    """A review of an attempt, at its own instant or, if that lies earlier, the submission's."""

    attempt: int
    at: datetime
    outcome: Outcome
    mode: ReviewMode
    reviewer_id: str
    reviewer_role: ReviewerRole
    review_minutes: int | None
    correction_minutes: int | None

    @property
    def is_human(self) -> bool:
        """Say whether a person looked: a timeout that accepts is no review."""
        return self.mode != "auto_timeout"


@dataclass(frozen=True, slots=True)
class Defect:
    """A defect, of the attempt it names or else of the latest one submitted before it."""

    defect_id: str
    attempt: int | None
    at: datetime
    severity: Severity
    category: DefectCategory
    found_stage: Literal["review", "post_acceptance"]
    opportunities: int | None


@dataclass(frozen=True, slots=True)
class Hold:
    """A wait, [started_at, ended_at): ended by its resume or by a submission; None: not yet."""

    hold_id: str
    reason: HoldReason
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Escalation:
    """A question to the firm. A blocking one pauses the work until `pause_ended_at`.

    That is its resolution or a submission, whichever comes first; None: not yet.
    """

    escalation_id: str
    category: EscalationCategory
    blocking: bool
    raised_at: datetime
    acknowledged_at: datetime | None
    resolved_at: datetime | None
    pause_ended_at: datetime | None
    disposition: Literal["needed", "unnecessary"] | None
    handling_minutes: int | None


@dataclass(frozen=True, slots=True)
class Task:
    """A task as all its facts say; instants are whole seconds in UTC, in fold order.

    placement_id  that of the latest assignment, else of the request, else of the first fact
    requested_at  that of the request; None, like all that only a request tells, while it is missing
    states        from the first fact on; the last is the present one
    submissions   one an attempt, by attempt
    reviews       in the order of their effect; timeouts that a person overtook are not there
    anomalies     those of `order.standing`; `impossible_move`, `request_repeated`,
                  `attempt_repeated`, `defect_repeated`, `hold_repeated`, `hold_unmatched`,
                  `escalation_repeated`, `escalation_unmatched`, `review_before_submission`,
                  `review_without_submission`, `other_placement` (work told of a placement that
                  neither the request nor an assignment names: left out)
    """

    firm_id: str
    task_id: str
    placement_id: str
    task_type: TaskType | None
    matter_ref: str | None
    requested_at: datetime | None
    requested_by: str | None
    self_created: bool
    sla_class: str | None
    due_at: datetime | None
    workflow_ref: str | None
    task_group_id: str | None
    states: tuple[StateChange, ...]
    acknowledgements: tuple[Start, ...]
    starts: tuple[Start, ...]
    submissions: tuple[Submission, ...]
    reviews: tuple[Review, ...]
    defects: tuple[Defect, ...]
    holds: tuple[Hold, ...]
    escalations: tuple[Escalation, ...]
    anomalies: tuple[Anomaly, ...]

    @property
    def state(self) -> State:
        """The present state."""
        return self.states[-1].state

    @property
    def first_submitted_at(self) -> datetime | None:
        """The instant of the first submission, whatever its number."""
        return min((submission.at for submission in self.submissions), default=None)

    @property
    def first_worked_at(self) -> datetime | None:
        """The first start or submission."""
        worked = [start.at for start in self.starts]
        worked += [submission.at for submission in self.submissions]
        return min(worked, default=None)

    @property
    def first_review(self) -> Review | None:
        """The first review by a person of the lowest attempt that a person reviewed."""
        human = [review for review in self.reviews if review.is_human]
        return min(human, key=lambda review: (review.attempt, review.at), default=None)

    @property
    def first_outcome(self) -> Review | None:
        """The first review by a person, or where there is none the first timeout."""
        return self.first_review or min(
            self.reviews, key=lambda review: (review.attempt, review.at), default=None
        )

    @property
    def accepted_at(self) -> datetime | None:
        """The acceptance that stands; None while the task is not accepted, or reopened."""
        return self.states[-1].since if self.state == "accepted" else None

    @property
    def cancelled_at(self) -> datetime | None:
        """The cancellation that stands."""
        return self.states[-1].since if self.state == "cancelled" else None

    @property
    def open_until(self) -> datetime | None:
        """The instant since which it is no longer open, however it was closed; None: it is open."""
        until = None
        for change in reversed(self.states):
            if change.state in OPEN:
                break
            until = change.since
        return until


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a task or escalation belongs: the dimensions that figures are grouped by.

    Country, role and phase are those of the firm-local date of the request (an escalation's: of
    its raising); all None, and `is_known` false, for a placement that the firm does not have.
    """

    placement_id: str
    is_known: bool
    assistant_id: str | None
    role: Role | None
    country: str | None
    phase: Phase | None
    task_type: TaskType | None


@dataclass(frozen=True, slots=True)
class PlacedTask:
    """A task with its place. `is_type_allowed` false: outside what the placement was given."""

    task: Task
    place: Placed
    is_type_allowed: bool


@dataclass(frozen=True, slots=True)
class PlacedEscalation:
    """An escalation about no task, with its place; `escalations` as often as it was raised."""

    firm_id: str
    escalation_id: str
    place: Placed
    escalations: tuple[Escalation, ...]
    anomalies: tuple[Anomaly, ...]


TASK: TypeAdapter[PlacedTask] = TypeAdapter(PlacedTask)
ESCALATION: TypeAdapter[PlacedEscalation] = TypeAdapter(PlacedEscalation)
