"""Holds: which parts of an entry may not be billed now, each with the first reason that applies."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime

from schemas.entries import Entry
from schemas.periods import Month
from schemas.segments import Segment
from services.billing.books import BookEntry, FirmBooks, Reason
from services.billing.overlaps import is_runaway, over_cap, overlapping
from services.billing.pricing import Priced, Pricing
from services.billing.rates import Unpriced
from services.billing.terms import excludes


@dataclass(frozen=True, slots=True)
class Questions:
    """The answers that need more than the one entry."""

    overlapping: Collection[str]
    over_cap: Collection[tuple[str, date]]
    approvals: Collection[tuple[str, str]]
    instant: datetime


@dataclass(frozen=True, slots=True)
class Part:
    """A segment as billing sees it: not billable, or held for a reason, or eligible at a price."""

    service_month: Month
    segment: Segment
    billable: bool
    reason: Reason | None
    price: Priced | Unpriced | None

    @property
    def eligible(self) -> bool:
        """Say whether the part may be billed now."""
        return self.billable and self.reason is None


def ask(books: FirmBooks) -> Questions:
    """Ask what the entries of all firms say together about each assistant's time."""
    return Questions(
        overlapping=overlapping(
            books.entries,
            books.today.placements,
            books.firm.timezone,
            books.other_spans,
            books.run.instant,
        ),
        over_cap=over_cap(books.entries, books.other_days),
        approvals=books.approvals,
        instant=books.run.instant,
    )


def parts_of(book: BookEntry, questions: Questions, pricing: Pricing) -> tuple[Part, ...]:
    """Judge each segment of an entry. A hold that is the whole entry's stands on every part."""
    if book.entry is None:
        return ()
    approved = is_approved(book, questions, pricing)
    parts = []
    for segment in book.segments:
        month = Month.of(segment.service_date)
        billable = segment.billable and not excludes(
            pricing.terms(month), segment.kind, pricing.phase(segment, segment.service_date)
        )
        reason, price = None, None
        if billable:
            reason = _known_work(book, segment) or _plausible_time(book.entry, segment, questions)
            if reason is None:
                price = pricing.price(segment)
                reason = _ready(price, approved=approved)
        parts.append(Part(month, segment, billable, reason, price))
    return tuple(parts)


def is_approved(book: BookEntry, questions: Questions, pricing: Pricing) -> bool:
    """Say whether the current version is approved, as a whole; an open entry never is."""
    entry = book.entry
    if entry is None or entry.status != "closed":
        return False
    if (entry.entry_id, entry.version) in questions.approvals:
        return True
    months = {Month.of(segment.service_date) for segment in book.segments}
    return bool(months) and all(pricing.terms(month).approval == "none" for month in months)


def _known_work(book: BookEntry, segment: Segment) -> Reason | None:
    if book.failed:
        return "failed"
    if segment.standing == "unknown_placement":
        return "unknown_placement"
    if book.id_reused:
        return "id_reused"
    if book.other_placement:
        return "other_placement"
    if segment.standing == "other_source":
        return "other_source"
    if segment.standing == "outside_placement":
        return "outside_placement"
    return None


def _plausible_time(entry: Entry, segment: Segment, questions: Questions) -> Reason | None:
    if entry.entry_id in questions.overlapping:
        return "overlap"
    if is_runaway(entry, questions.instant):
        return "runaway"
    if (segment.assistant_id, segment.service_date) in questions.over_cap:
        return "daily_cap"
    return None


def _ready(price: Priced | Unpriced, *, approved: bool) -> Reason | None:
    if isinstance(price, Unpriced):
        return "unrated"
    return None if approved else "unapproved"
