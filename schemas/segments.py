"""Segments: an entry cut where a date of the firm or its placement begins or ends."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from schemas.directory import Directory
from schemas.entries import Entry
from schemas.events import Phase, Role, TaskType, WorkKind

SegmentStanding = Literal["inside", "outside_placement", "unknown_placement", "other_source"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of an entry on one service date of the firm; metrics and billing both count these.

    number      1, 2, … in the entry's order of time
    started_at  with `ended_at`: [from, to) in UTC; both None for a duration without clock times
    role …      the placement's role, country and phase on the service date; None when unknown
    standing    the first that applies of `unknown_placement`, `other_source` (the placement's hours
                of that date come from elsewhere), `outside_placement`; else `inside`
    """

    entry_id: str
    number: int
    service_date: date
    started_at: datetime | None
    ended_at: datetime | None
    seconds: int
    placement_id: str
    assistant_id: str | None
    role: Role | None
    country: str | None
    phase: Phase | None
    task_type: TaskType
    task_id: str | None
    matter_ref: str | None
    kind: WorkKind
    billable: bool
    standing: SegmentStanding


def split(entry: Entry, directory: Directory) -> tuple[Segment, ...]:
    """Cut a closed entry at the firm's midnights and at its placement's start and end.

    An open or void entry has no segments, and none has one while the firm is unknown. A duration
    without clock times is one segment on its date, inside when the placement touches that date;
    an entry of no seconds is one segment too.
    """
    raise NotImplementedError
