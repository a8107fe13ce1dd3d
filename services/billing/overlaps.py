"""Questions asked of an assistant's time over all firms: overlaps, runaways, too long a day."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import TypeVar

from schemas.directory import Placement, comes_from
from schemas.entries import Entry
from schemas.periods import local_date
from services.billing.books import BookEntry, OtherSpan

RUNAWAY = timedelta(hours=16)
DAY_SECONDS = 86_400


Moment = TypeVar("Moment", datetime, int)
Span = tuple[Moment, Moment, str]  # an interval with whose it is; no entry id: another firm's


def spans(
    entries: Iterable[BookEntry], placements: Mapping[str, Placement], zone: str
) -> tuple[OtherSpan, ...]:
    """Return a firm's intervals as another firm's run needs them: without saying what they are."""
    return tuple(span for book in entries for span in _spans_of(book, placements, zone))


def days(entries: Iterable[BookEntry]) -> dict[tuple[str, date], int]:
    """Return the seconds worked by (assistant, service date), for another firm's run."""
    worked: dict[tuple[str, date], int] = defaultdict(int)
    for book in entries:
        for segment in book.segments:
            if segment.assistant_id is not None and segment.standing != "other_source":
                worked[segment.assistant_id, segment.service_date] += segment.seconds
    return dict(worked)


def overlapping(
    entries: Iterable[BookEntry],
    placements: Mapping[str, Placement],
    zone: str,
    others: Iterable[OtherSpan],
    instant: datetime,
) -> frozenset[str]:
    """Return the entries of the firm that share a moment with another of the same assistant.

    A running timer reaches to the run's instant, 16 hours at most; touching is no overlap.
    """
    by_assistant: dict[str, list[Span[datetime]]] = defaultdict(list)
    for book in entries:
        for span in _spans_of(book, placements, zone):
            by_assistant[span.assistant_id].append(_bounded(span, instant, book.entry_id))
    for span in others:
        by_assistant[span.assistant_id].append(_bounded(span, instant, ""))
    return frozenset(
        entry_id for found in by_assistant.values() for entry_id in crossing(found) if entry_id
    )


def over_cap(
    entries: Iterable[BookEntry], other_days: Mapping[tuple[str, date], int]
) -> frozenset[tuple[str, date]]:
    """Return the (assistant, date) pairs with more than 24 hours, all firms together."""
    return frozenset(
        day
        for day, seconds in days(entries).items()
        if seconds + other_days.get(day, 0) > DAY_SECONDS
    )


def is_runaway(entry: Entry, instant: datetime) -> bool:
    """Say whether an entry's span, open or closed, is longer than 16 hours at the run's instant."""
    if entry.started_at is None or entry.status == "void":
        return False
    return (entry.ended_at or instant) - entry.started_at > RUNAWAY


def _spans_of(
    book: BookEntry, placements: Mapping[str, Placement], zone: str
) -> Iterator[OtherSpan]:
    """The intervals of an entry that count: its segments', or its running timer's."""
    for segment in book.segments:
        known = segment.assistant_id is not None and segment.standing != "other_source"
        if known and segment.started_at is not None:
            assert segment.assistant_id is not None
            yield OtherSpan(segment.assistant_id, segment.started_at, segment.ended_at)
    entry = book.entry
    if entry is None or entry.status != "open" or entry.started_at is None:
        return
    placement = placements.get(entry.placement_id)
    if placement is None:
        return
    source = placement.sources.on(local_date(entry.started_at, zone))
    if source is None or comes_from(entry.source, source):
        yield OtherSpan(placement.assistant_id, entry.started_at, None)


def _bounded(span: OtherSpan, instant: datetime, entry_id: str) -> Span[datetime]:
    ended_at = span.ended_at or min(instant, span.started_at + RUNAWAY)
    return span.started_at, ended_at, entry_id


def crossing(spans: Iterable[Span[Moment]]) -> Iterator[str]:
    """Whose spans cross an earlier or a later one; spans of no length cross nothing."""
    ordered = sorted(span for span in spans if span[0] < span[1])
    latest_end: Moment | None = None
    for number, (started_at, ended_at, entry_id) in enumerate(ordered, 1):
        crosses_earlier = latest_end is not None and started_at < latest_end
        crosses_later = number < len(ordered) and ordered[number][0] < ended_at
        if crosses_earlier or crosses_later:
            yield entry_id
        latest_end = ended_at if latest_end is None else max(latest_end, ended_at)
