"""The fold of the directory: firms, placements and assistants, each attribute a timeline of dates."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Generic, TypeVar

from pydantic import TypeAdapter

from schemas.events import (
    AssistantChanged,
    AssistantRegistered,
    AssistantVetted,
    Coverage,
    Override,
    Phase,
    Role,
    Shift,
    Slot,
    TaskType,
)
from schemas.facts import Cut, Fact
from schemas.order import Anomaly, standing

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timeline(Generic[T]):
    """The values of one attribute, each in force from a firm-local date's start until the next.

    `changes` is sorted by date; its first reaches back without end (its date is `date.min`).
    """

    changes: tuple[tuple[date, T], ...]

    def on(self, day: date) -> T:
        """Return the value in force on a date."""
        value = self.changes[0][1]
        for since, changed in self.changes[1:]:
            if since > day:
                break
            value = changed
        return value


@dataclass(frozen=True, slots=True)
class Calendar:
    """A version of a firm's office hours. `version` names it: the hash of its event's content."""

    zone: str
    slots: tuple[Slot, ...]
    closed_dates: tuple[date, ...]
    overrides: tuple[Override, ...]
    version: str


@dataclass(frozen=True, slots=True)
class Absence:
    """Dates of the shift's zone on which an assistant is away; `until_date` is the first day back."""

    from_date: date
    until_date: date


@dataclass(frozen=True, slots=True)
class Firm:
    """A firm. Zone and currency are fixed by its registration; it has no calendar until one came."""

    firm_id: str
    timezone: str
    currency: str
    countries: Timeline[str]
    external_refs: Timeline[str | None]
    calendars: Timeline[Calendar | None]
    anomalies: tuple[Anomaly, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """An assistant's placement at a firm, on [started_at, ended_at) in whole seconds of UTC.

    `sources` says whose hours count from a date on (None: everyone's), as the beginning of an
    event source; `allowed_task_types` None: all of them.
    """

    firm_id: str
    placement_id: str
    assistant_id: str
    started_at: datetime
    ended_at: datetime | None
    coverage: Coverage
    supervising_attorney_id: str
    allowed_task_types: tuple[TaskType, ...] | None
    roles: Timeline[Role]
    countries: Timeline[str]
    phases: Timeline[Phase]
    shifts: Timeline[Shift]
    sources: Timeline[str | None]
    absences: tuple[Absence, ...]
    anomalies: tuple[Anomaly, ...]


@dataclass(frozen=True, slots=True)
class Assistant:
    """An assistant: home country and vetting scores by date. Names live elsewhere."""

    assistant_id: str
    home_countries: Timeline[str]
    vettings: Timeline[AssistantVetted | None]
    anomalies: tuple[Anomaly, ...]


@dataclass(frozen=True, slots=True)
class Directory:
    """What a fold needs of the directory: one firm, None while unknown, and its placements by id."""

    firm: Firm | None
    placements: Mapping[str, Placement]


FIRM: TypeAdapter[Firm] = TypeAdapter(Firm)
PLACEMENT: TypeAdapter[Placement] = TypeAdapter(Placement)
ASSISTANT: TypeAdapter[Assistant] = TypeAdapter(Assistant)


def fold_firm(facts: Iterable[Fact], cut: Cut | None = None) -> Firm | None:
    """Fold all facts of one firm. None while its registration is missing."""
    raise NotImplementedError


def fold_placement(facts: Iterable[Fact], cut: Cut | None = None) -> Placement | None:
    """Fold all facts of one placement. None while its start is missing."""
    raise NotImplementedError


def fold_assistant(facts: Iterable[Fact], cut: Cut | None = None) -> Assistant | None:
    """Fold all facts of one assistant. None while the registration is missing."""
    raise NotImplementedError


def comes_from(source: str, prefix: str) -> bool:
    """Say whether an event source is `prefix` or lies under it, on a boundary of its segments."""
    stem = prefix.removesuffix("/")
    return source == stem or source.startswith(stem + "/")
