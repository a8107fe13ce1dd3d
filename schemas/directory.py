"""The fold of the directory: firms, placements and assistants, with a timeline an attribute."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Generic, TypeVar

from pydantic import TypeAdapter

from schemas.directory_events import (
    AssistantChanged,
    AssistantRegistered,
    AssistantVetted,
    FirmCalendarChanged,
    FirmChanged,
    FirmRegistered,
    Override,
    PlacementAbsenceRecorded,
    PlacementCountryChanged,
    PlacementEnded,
    PlacementPhaseChanged,
    PlacementRoleChanged,
    PlacementShiftChanged,
    PlacementSourceChanged,
    PlacementStarted,
    Shift,
    Slot,
)
from schemas.facts import Cut, Fact
from schemas.fields import Coverage, Data, Phase, Role, TaskType
from schemas.instants import whole_second
from schemas.order import Anomaly, Standing, standing

T = TypeVar("T")
D = TypeVar("D", bound=Data)


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


@dataclass(frozen=True, slots=True, order=True)
class Absence:
    """Dates of the shift's zone when an assistant is away; `until_date` is the first day back."""

    from_date: date
    until_date: date


@dataclass(frozen=True, slots=True)
class Firm:
    """A firm. Its registration fixes zone and currency; `calendars` says None while none came."""

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
    """What a fold needs of the directory: a firm, None while unknown, and its placements by id."""

    firm: Firm | None
    placements: Mapping[str, Placement]


FIRM: TypeAdapter[Firm] = TypeAdapter(Firm)
PLACEMENT: TypeAdapter[Placement] = TypeAdapter(Placement)
ASSISTANT: TypeAdapter[Assistant] = TypeAdapter(Assistant)


def fold_firm(facts: Iterable[Fact], cut: Cut | None = None) -> Firm | None:
    """Fold all facts of one firm. None while its registration is missing.

    Of two registrations the one with the least (received_at, content hash) counts.
    """
    stood = standing(facts, cut)
    registrations = _received(stood, FirmRegistered)
    if not registrations:
        return None
    first, registered = registrations[0]
    changes = _received(stood, FirmChanged)
    return Firm(
        firm_id=registered.firm_id,
        timezone=registered.timezone,
        currency=registered.currency,
        countries=_timeline(
            registered.country,
            ((d.effective_date, d.country) for _, d in changes if d.country is not None),
        ),
        external_refs=_timeline(
            None,
            ((d.effective_date, d.external_ref) for _, d in changes if d.external_ref is not None),
        ),
        calendars=_calendars(stood),
        anomalies=_anomalies(stood, first, registrations),
    )


def fold_placement(facts: Iterable[Fact], cut: Cut | None = None) -> Placement | None:
    """Fold all facts of one placement. None while its start is missing.

    The first start received fixes the assistant; one that names another is not applied. Of the
    others the one with the greatest (received_at, content hash) counts, as of two values of an
    attribute for one date, and the same of several ends: a wrong instant can be put right.
    """
    stood = standing(facts, cut)
    starts = _received(stood, PlacementStarted)
    if not starts:
        return None
    assistant_id = starts[0][1].assistant_id
    counting, started = [s for s in starts if s[1].assistant_id == assistant_id][-1]
    ends = _received(stood, PlacementEnded)
    allowed = started.allowed_task_types
    return Placement(
        firm_id=started.firm_id,
        placement_id=started.placement_id,
        assistant_id=assistant_id,
        started_at=whole_second(started.started_at),
        ended_at=whole_second(ends[-1][1].ended_at) if ends else None,
        coverage=started.coverage,
        supervising_attorney_id=started.supervising_attorney_id,
        allowed_task_types=None if allowed is None else tuple(allowed),
        roles=_timeline(
            started.role,
            ((d.effective_date, d.role) for _, d in _received(stood, PlacementRoleChanged)),
        ),
        countries=_timeline(
            started.country,
            ((d.effective_date, d.country) for _, d in _received(stood, PlacementCountryChanged)),
        ),
        phases=_timeline(
            started.phase,
            ((d.effective_date, d.phase) for _, d in _received(stood, PlacementPhaseChanged)),
        ),
        shifts=_timeline(
            started.shift,
            ((d.effective_date, d.shift) for _, d in _received(stood, PlacementShiftChanged)),
        ),
        sources=_timeline(
            None,
            ((d.effective_date, d.source) for _, d in _received(stood, PlacementSourceChanged)),
        ),
        absences=_absences(stood),
        anomalies=_anomalies(stood, counting, starts),
    )


def fold_assistant(facts: Iterable[Fact], cut: Cut | None = None) -> Assistant | None:
    """Fold all facts of one assistant. None while the registration is missing.

    Of two registrations the one with the least (received_at, content hash) counts.
    """
    stood = standing(facts, cut)
    registrations = _received(stood, AssistantRegistered)
    if not registrations:
        return None
    first, registered = registrations[0]
    return Assistant(
        assistant_id=registered.assistant_id,
        home_countries=_timeline(
            registered.home_country,
            ((d.effective_date, d.home_country) for _, d in _received(stood, AssistantChanged)),
        ),
        vettings=_timeline(
            None, ((d.effective_date, d) for _, d in _received(stood, AssistantVetted))
        ),
        anomalies=_anomalies(stood, first, registrations),
    )


def comes_from(source: str, prefix: str) -> bool:
    """Say whether an event source is `prefix` or lies under it, on a boundary of its segments."""
    stem = prefix.removesuffix("/")
    return source == stem or source.startswith(stem + "/")


def _received(stood: Standing, model: type[D]) -> list[tuple[Fact, D]]:
    """Return the facts of one data model with their data, by (received_at, content hash)."""
    found = [(fact, fact.data) for fact in stood.facts if isinstance(fact.data, model)]
    return sorted(found, key=lambda pair: (pair[0].received_at, pair[0].content_hash))


def _timeline(first: T, changes: Iterable[tuple[date, T]]) -> Timeline[T]:
    """Lay values out by date; of two for one date the later in `changes` counts."""
    by_date = {date.min: first, **dict(changes)}
    return Timeline(tuple((since, by_date[since]) for since in sorted(by_date)))


def _calendars(stood: Standing) -> Timeline[Calendar | None]:
    """Lay out the calendars; the first by date is in force before its date too."""
    by_date: dict[date, Calendar | None] = {
        data.effective_date: Calendar(
            zone=data.zone,
            slots=tuple(data.slots),
            closed_dates=tuple(sorted(set(data.closed_dates))),
            overrides=tuple(data.overrides),
            version=fact.content_hash.hex(),
        )
        for fact, data in _received(stood, FirmCalendarChanged)
    }
    first = by_date.pop(min(by_date)) if by_date else None
    return _timeline(first, by_date.items())


def _absences(stood: Standing) -> tuple[Absence, ...]:
    recorded = _received(stood, PlacementAbsenceRecorded)
    return tuple(sorted({Absence(data.from_date, data.until_date) for _, data in recorded}))


def _anomalies(
    stood: Standing, counting: Fact, rivals: Iterable[tuple[Fact, Data]]
) -> tuple[Anomaly, ...]:
    """Join what stood out with the registrations or starts that do not count."""
    rejected = (
        Anomaly("registration_conflict", fact.source, fact.id)
        for fact, _ in rivals
        if fact.content_hash != counting.content_hash
    )
    return tuple(sorted({*stood.anomalies, *rejected}))
