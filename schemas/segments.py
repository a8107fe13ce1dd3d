"""Segments: an entry cut where a date of the firm or its placement begins or ends."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Literal, NamedTuple

from schemas.directory import Directory, Placement, comes_from
from schemas.entries import Entry
from schemas.fields import Phase, Role, TaskType, WorkKind
from schemas.periods import day_start, local_date

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)

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


class _Piece(NamedTuple):
    """A stretch of an entry that no date and no end of the placement cuts any more."""

    service_date: date
    started_at: datetime | None
    ended_at: datetime | None
    seconds: int
    touches: tuple[datetime, datetime]  # what has to meet the placement: [from, to)


def split(entry: Entry, directory: Directory) -> tuple[Segment, ...]:
    """Cut a closed entry at the firm's midnights and at its placement's start and end.

    An open or void entry has no segments, and none has one while the firm is unknown. A duration
    without clock times is one segment on its date, inside when the placement touches that date;
    an entry of no seconds is one segment too.
    """
    if entry.status != "closed" or directory.firm is None:
        return ()
    placement = directory.placements.get(entry.placement_id)
    pieces = _pieces(entry, placement, directory.firm.timezone)
    return tuple(
        _segment(entry, number, piece, placement) for number, piece in enumerate(pieces, 1)
    )


def _pieces(entry: Entry, placement: Placement | None, zone: str) -> Iterator[_Piece]:
    if entry.work_date is not None:
        assert entry.duration_seconds is not None
        whole_day = day_start(entry.work_date, zone), day_start(entry.work_date + _DAY, zone)
        yield _Piece(entry.work_date, None, None, entry.duration_seconds, whole_day)
        return
    start, end = entry.started_at, entry.ended_at
    assert start is not None
    assert end is not None
    if end <= start:
        yield _Piece(local_date(start, zone), start, end, 0, (start, start + _SECOND))
        return
    ends = (placement.started_at, placement.ended_at) if placement else ()
    cuts = {*_midnights(start, end, zone), *(cut for cut in ends if cut and start < cut < end)}
    for since, until in pairwise((start, *sorted(cuts), end)):
        seconds = int((until - since).total_seconds())
        yield _Piece(local_date(since, zone), since, until, seconds, (since, until))


def _midnights(start: datetime, end: datetime, zone: str) -> Iterator[datetime]:
    """Yield the starts of the dates that begin between two instants."""
    day = local_date(start, zone) + _DAY
    while (midnight := day_start(day, zone)) < end:
        yield midnight
        day += _DAY


def _segment(entry: Entry, number: int, piece: _Piece, placement: Placement | None) -> Segment:
    assert entry.task_type is not None
    assert entry.kind is not None
    assert entry.billable is not None
    day = piece.service_date
    return Segment(
        entry_id=entry.entry_id,
        number=number,
        service_date=day,
        started_at=piece.started_at,
        ended_at=piece.ended_at,
        seconds=piece.seconds,
        placement_id=entry.placement_id,
        assistant_id=placement.assistant_id if placement else None,
        role=placement.roles.on(day) if placement else None,
        country=placement.countries.on(day) if placement else None,
        phase=placement.phases.on(day) if placement else None,
        task_type=entry.task_type,
        task_id=entry.task_id,
        matter_ref=entry.matter_ref,
        kind=entry.kind,
        billable=entry.billable,
        standing=_standing(entry, piece, placement),
    )


def _standing(entry: Entry, piece: _Piece, placement: Placement | None) -> SegmentStanding:
    if placement is None:
        return "unknown_placement"
    prefix = placement.sources.on(piece.service_date)
    if prefix is not None and not comes_from(entry.source, prefix):
        return "other_source"
    since, until = piece.touches
    if until <= placement.started_at:
        return "outside_placement"
    if placement.ended_at is not None and placement.ended_at <= max(since, placement.started_at):
        return "outside_placement"
    return "inside"
