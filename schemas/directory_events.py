"""The data of directory events: what the agency says of firms, assistants and placements."""

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from schemas.countries import Country
from schemas.fields import (
    ClockTime,
    Code,
    Coverage,
    Currency,
    Data,
    FirmData,
    Id,
    Phase,
    PlacementData,
    Ref,
    Role,
    Score,
    Source,
    TaskType,
    Zone,
)
from schemas.instants import Day, Instant


class FirmRegistered(FirmData):
    """A firm's registration fixes its zone and currency."""

    timezone: Zone
    country: Country
    currency: Currency


class FirmChanged(FirmData):
    """What may change of a firm, from a date of its zone on."""

    country: Country | None = None
    external_ref: Ref | None = None
    effective_date: Day


class Slot(Data):
    """A weekly stretch of hours; it belongs to the local date on which it starts."""

    weekday: Annotated[int, Field(ge=1, le=7)]
    start: ClockTime
    minutes: Annotated[int, Field(ge=1, le=1_440)]


class DaySlot(Data):
    """A stretch of hours on one date that an override names."""

    start: ClockTime
    minutes: Annotated[int, Field(ge=1, le=1_440)]


class Override(Data):
    """The hours of one date, instead of what weekday and closed dates say."""

    date: Day
    slots: Annotated[list[DaySlot], Field(max_length=24)]


class FirmCalendarChanged(FirmData):
    """A firm's office hours, in the calendar's own zone, from a date on."""

    zone: Zone
    slots: Annotated[list[Slot], Field(max_length=200)]
    closed_dates: Annotated[list[Day], Field(max_length=1_000)] = Field(default_factory=list)
    overrides: Annotated[list[Override], Field(max_length=400)] = Field(default_factory=list)
    effective_date: Day


class Shift(Data):
    """An assistant's weekly hours of work, in the shift's own zone."""

    zone: Zone
    slots: Annotated[list[Slot], Field(max_length=200)]


class AssistantData(Data):
    """Data of an event about one assistant, who belongs to no firm."""

    assistant_id: Id


class AssistantRegistered(AssistantData):
    """A new assistant and the country they work from."""

    home_country: Country


class AssistantChanged(AssistantData):
    """Another home country, from a date on."""

    home_country: Country
    effective_date: Day


class AssistantVetted(AssistantData):
    """Five scores of one vetting, by a version of the rubric."""

    english: Score
    software: Score
    detail: Score
    confidentiality: Score
    escalation: Score
    rubric_version: Id
    effective_date: Day


class PlacementStarted(PlacementData):
    """An assistant starts to work for a firm, in a role and a phase."""

    assistant_id: Id
    role: Role
    country: Country
    phase: Phase
    coverage: Coverage
    shift: Shift
    allowed_task_types: Annotated[list[TaskType], Field(max_length=8)] | None = None
    supervising_attorney_id: Id
    started_at: Instant


class PlacementPhaseChanged(PlacementData):
    """Another phase, from a date of the firm on."""

    phase: Phase
    effective_date: Day


class PlacementCountryChanged(PlacementData):
    """Another country of work, from a date of the firm on."""

    country: Country
    effective_date: Day


class PlacementRoleChanged(PlacementData):
    """Another role, from a date of the firm on."""

    role: Role
    effective_date: Day


class PlacementShiftChanged(PlacementData):
    """Another shift, from a date of the firm on."""

    shift: Shift
    effective_date: Day


class PlacementSourceChanged(PlacementData):
    """Whose hours count from a date on: entries whose event source starts with `source`."""

    source: Source
    effective_date: Day


class PlacementAbsenceRecorded(PlacementData):
    """Days away; `until_date` is the first day back. Dates are the shift's."""

    from_date: Day
    until_date: Day

    @model_validator(mode="after")
    def in_order(self) -> Self:
        """Refuse an absence that ends before it begins; `until_date` is the first day back."""
        if self.until_date <= self.from_date:
            raise PydanticCustomError("absence_order", "until_date must be after from_date")
        return self


class PlacementControlRecorded(PlacementData):
    """A control record: who saw to which safeguard, when, and where it is kept."""

    kind: Literal["nda", "mfa", "disclosure", "system_access", "access_removed"]
    state: Code
    at: Instant
    by: Id
    ref: Ref


class PlacementEnded(PlacementData):
    """The instant from which the assistant works for the firm no more."""

    ended_at: Instant
