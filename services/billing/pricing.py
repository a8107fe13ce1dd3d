"""Pricing: under which line key a segment falls, by the stamp it has or the month's reference."""

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple, Protocol

from schemas.periods import Month
from schemas.segments import Segment
from services.billing.books import ANY, FirmBooks, LineKey, Rate, Reference, Terms
from services.billing.ledger import Ledger
from services.billing.rates import Card, Unpriced, Work
from services.billing.terms import terms_for


class Working(Protocol):
    """What a segment, or plain work, says about its placement on its date; None: unknown."""

    @property
    def placement_id(self) -> str:
        """The placement's id."""

    @property
    def role(self) -> str | None:
        """The placement's role."""

    @property
    def country(self) -> str | None:
        """Its country of work."""

    @property
    def phase(self) -> str | None:
        """Its phase."""


class Priced(NamedTuple):
    """The key that a segment falls under, and what it was found for."""

    key: LineKey
    rate_e4: int
    role: str
    country: str


@dataclass(frozen=True, slots=True)
class _MonthBook:
    """What prices one service month. `pinned` None: the month is not settled, today's applies."""

    terms: Terms
    pinned: Reference | None
    card: Card


class Pricing:
    """The prices of one firm's run; its answers depend on nothing but the books."""

    def __init__(self, books: FirmBooks, ledger: Ledger) -> None:
        self._books = books
        self._ledger = ledger
        self._today = self._card(books.today)
        self._cards: dict[Month, Card] = {}
        self._months: dict[Month, _MonthBook] = {}

    def terms(self, month: Month) -> Terms:
        """Return the terms that a service month is billed under."""
        return self._month(month).terms

    def phase(self, work: Working, day: date) -> str | None:
        """Return the phase that a date's work was in, as the month's reference has it."""
        pinned = self._month(Month.of(day)).pinned
        placement = pinned.placements.get(work.placement_id) if pinned else None
        return placement.phases.on(day) if placement else work.phase

    def price(self, segment: Segment) -> Priced | Unpriced:
        """Return a segment's key, or why it has none. What is billed keeps its stamp."""
        day = segment.service_date
        stamped = self._ledger.stamps.get((segment.entry_id, day, segment.placement_id))
        if stamped is None:
            return self.quote(segment, day)
        stamp = self._ledger.stories[stamped].stamp
        return Priced(stamped, stamp.rate_e4, stamp.role, stamp.country)

    def quote(self, work: Working, day: date) -> Priced | Unpriced:
        """Return the key of a date's work that is not billed yet, or why it has none.

        That of a settled month is priced from what its first issue step pinned, and what that does
        not price, from today's.
        """
        book = self._month(Month.of(day))
        if book.pinned is not None:
            found = self._find(book.card, _as_looked_up(work, day, book.pinned), day)
            if isinstance(found, Priced):
                return found
        return self._find(self._today, _as_looked_up(work, day, None), day)

    def _find(self, card: Card, work: Work, day: date) -> Priced | Unpriced:
        rate: Rate | Unpriced = card.find(work, day)
        if isinstance(rate, Unpriced):
            return rate
        key = LineKey(Month.of(day), work.placement_id, rate.rate_id)
        return Priced(key, rate.rate_e4, work.role, work.country)

    def _month(self, month: Month) -> _MonthBook:
        book = self._months.get(month)
        if book is None:
            book = self._months[month] = self._open_month(month)
        return book

    def _open_month(self, month: Month) -> _MonthBook:
        """A settled month's own pins; before the first settled month, that one's."""
        settled = self._books.settled
        first = min(settled, default=None)
        pinned_month = first if first is not None and month < first else month
        pinned = settled.get(pinned_month)
        if pinned is None:
            return _MonthBook(terms_for(self._books.today.terms, month), None, self._today)
        if pinned_month not in self._cards:
            self._cards[pinned_month] = self._card(pinned)
        return _MonthBook(terms_for(pinned.terms, month), pinned, self._cards[pinned_month])

    def _card(self, reference: Reference) -> Card:
        firm = self._books.firm
        return Card(reference.card, firm.firm_id, firm.currency)


def _as_looked_up(work: Working, day: date, reference: Reference | None) -> Work:
    """What a rate is looked up for: as the reference's directory has it, else as today's has."""
    placement = reference.placements.get(work.placement_id) if reference else None
    if placement is not None:
        return Work(
            work.placement_id,
            placement.countries.on(day),
            placement.roles.on(day),
            placement.phases.on(day),
        )
    return Work(
        work.placement_id,
        work.country or ANY,
        work.role or ANY,
        work.phase or ANY,
    )
