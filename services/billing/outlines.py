"""Outlines: what is kept beside each entry, so that a run need not read in full what is plain."""

import json
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from services.billing.books import BookEntry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


class Outline(NamedTuple):
    """An entry from afar; instants are seconds since 1970, in UTC.

    service_date  that of its first segment
    work          what `work_of` reads, of a closed entry that is one segment inside its placement,
                  between two instants; None: the entry can only be judged when it is read
    """

    entry_id: str
    placement_id: str
    version: str
    started_at: int | None
    ended_at: int | None
    seconds: int
    service_date: date | None
    work: str | None


class Work(NamedTuple):
    """All that a rule may ask of plain work but its date and length."""

    placement_id: str
    assistant_id: str
    role: str
    country: str
    phase: str
    kind: str
    billable: bool


def outline(book: BookEntry) -> Outline | None:
    """Outline an entry as folded; None when nothing of it stands."""
    entry = book.entry
    if entry is None:
        return None
    return Outline(
        entry.entry_id,
        entry.placement_id,
        entry.version,
        epoch_seconds(entry.started_at) if entry.started_at else None,
        epoch_seconds(entry.ended_at) if entry.ended_at else None,
        entry.duration_seconds or 0,
        book.segments[0].service_date if book.segments else None,
        _work(book),
    )


def _work(book: BookEntry) -> str | None:
    if len(book.segments) != 1 or book.other_placement:
        return None
    (segment,) = book.segments
    if segment.standing != "inside" or segment.started_at is None or segment.seconds == 0:
        return None
    told = (
        segment.placement_id,
        segment.assistant_id,
        segment.role,
        segment.country,
        segment.phase,
        segment.kind,
        segment.billable,
    )
    return json.dumps(told, separators=(",", ":"))


@lru_cache(maxsize=16_384)
def work_of(told: str) -> Work:
    """Read what kind of work an outline tells; the same few texts come again and again."""
    return Work(*json.loads(told))


def epoch_seconds(instant: datetime) -> int:
    """Count the seconds since 1970, in UTC; a part of one is left out."""
    return (instant - _EPOCH) // _SECOND
