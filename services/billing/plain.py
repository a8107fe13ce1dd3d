"""Plain entries: those that no rule of holding can touch, found from their outlines alone.

Nothing is decided here that is not decided elsewhere. An entry is plain when it is sure that
judging it, as `holds` and `due` do, would find all of it billed as it stands, or due now, or not
billable. Where that is not sure it is read in full and judged. Plain ones are taken together, by
what kind of work they are and on which date.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

from schemas.periods import Month
from services.billing.books import FirmBooks, LineKey
from services.billing.ledger import Ledger, open_ledger
from services.billing.outlines import Outline, Work, epoch_seconds, work_of
from services.billing.overlaps import DAY_SECONDS, RUNAWAY, Span, crossing
from services.billing.pricing import Priced, Pricing
from services.billing.rates import Unpriced
from services.billing.terms import excludes

RUNAWAY_SECONDS = RUNAWAY // timedelta(seconds=1)


class Member(NamedTuple):
    """One plain entry of a group."""

    entry_id: str
    version: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Group:
    """Plain entries of one kind of work on one date.

    `billed` under a key in just this version, or due at a `price`; with neither, not billable.
    """

    work: Work
    service_date: date
    members: Sequence[Member]
    billed: LineKey | None = None
    price: Priced | None = None

    @property
    def seconds(self) -> int:
        """The seconds of all members."""
        return sum(member.seconds for member in self.members)


@dataclass(frozen=True, slots=True)
class Sifted:
    """A firm's entries, told apart: plain groups, and the ids of what is to be judged."""

    ledger: Ledger
    pricing: Pricing
    plain: tuple[Group, ...]
    judged: frozenset[str]


def unsifted(books: FirmBooks) -> Sifted:
    """Leave all entries of some books to be judged, and what is billed among them."""
    ledger = open_ledger(books.issued)
    return Sifted(ledger, Pricing(books, ledger), (), frozenset(ledger.entries))


class _Pile(NamedTuple):
    """What plain entries have in common before they are priced."""

    work: str
    service_date: date
    billed: LineKey | None
    approved: bool


def sift(books: FirmBooks, outlines: Collection[Outline], unsure: Collection[str]) -> Sifted:
    """Tell plain entries from those to be judged, in the books of a firm without its entries.

    `outlines` are of all entries of which something stands, as the cut shows them; `unsure` names
    those that are to be judged whatever they look like. What is billed but has no outline is to be
    judged too.
    """
    ledger = open_ledger(books.issued)
    pricing = Pricing(books, ledger)
    judged = {*unsure, *(ledger.entries.keys() - {outline.entry_id for outline in outlines})}
    judged |= _questionable(books, outlines)
    piles: dict[_Pile, list[Member]] = defaultdict(list)
    for outline in outlines:
        if outline.work is None or outline.service_date is None or outline.entry_id in judged:
            judged.add(outline.entry_id)
            continue
        known = outline.entry_id in ledger.entries
        billed = _billed_as_it_is(outline, ledger) if known else None
        if known and billed is None:
            judged.add(outline.entry_id)
            continue
        approved = (outline.entry_id, outline.version) in books.approvals
        pile = _Pile(outline.work, outline.service_date, billed, approved)
        piles[pile].append(Member(outline.entry_id, outline.version, outline.seconds))
    groups = []
    for pile, members in piles.items():
        group = _group(pile, members, pricing)
        if group is None:
            judged.update(member.entry_id for member in members)
        else:
            groups.append(group)
    return Sifted(ledger, pricing, tuple(groups), frozenset(judged))


def _questionable(books: FirmBooks, outlines: Iterable[Outline]) -> set[str]:
    """Name entries that may overlap, run away, or lie on too long a day of their assistant.

    Judged from whole entries, not their parts: so some are named that no rule will hold, but none
    is left out, nor is any that it meets.
    """
    assistants = {p.placement_id: p.assistant_id for p in books.today.placements.values()}
    spans: dict[str, list[Span[int]]] = defaultdict(list)
    days: dict[tuple[str, date], int] = defaultdict(int, books.other_days)
    for span in books.other_spans:
        ended_at = span.ended_at or span.started_at + RUNAWAY
        spans[span.assistant_id].append(
            (epoch_seconds(span.started_at), epoch_seconds(ended_at), "")
        )
    found = set()
    for outline in outlines:
        assistant_id = assistants.get(outline.placement_id)
        if assistant_id is None or outline.seconds > RUNAWAY_SECONDS:
            found.add(outline.entry_id)
        if assistant_id is None:
            continue
        if (start := outline.started_at) is not None:
            end = outline.ended_at if outline.ended_at is not None else start + RUNAWAY_SECONDS
            spans[assistant_id].append((start, end, outline.entry_id))
        for day in _days(outline):
            days[assistant_id, day] += outline.seconds
    for crossed in spans.values():
        found.update(crossing(crossed))
    found.discard("")
    long_days = {place for place, seconds in days.items() if seconds > DAY_SECONDS}
    if long_days:
        found.update(
            outline.entry_id
            for outline in outlines
            if (assistants.get(outline.placement_id), outline.service_date) in long_days
        )
    return found


def _days(outline: Outline) -> Iterable[date]:
    """The dates that may hold seconds of an entry: of plain work one, else one too many."""
    first = outline.service_date
    if first is None:
        return ()
    if outline.work is not None:
        return (first,)
    return [first + timedelta(days=n) for n in range(outline.seconds // DAY_SECONDS + 3)]


def _billed_as_it_is(outline: Outline, ledger: Ledger) -> LineKey | None:
    """Return the key under which all of an entry is billed, in its very version, if so."""
    billed = ledger.entries[outline.entry_id]
    if len(billed) != 1 or ledger.versions.get(outline.entry_id) != outline.version:
        return None
    ((key, rows),) = billed.items()
    if len(rows) != 1 or key.placement_id != outline.placement_id:
        return None
    (((version, day), row),) = rows.items()
    same = (version, day, row.seconds) == (outline.version, outline.service_date, outline.seconds)
    return key if same else None


def _group(pile: _Pile, members: Sequence[Member], pricing: Pricing) -> Group | None:
    """Ask the rules of terms and rates about a pile; None: its entries are to be judged."""
    work, day = work_of(pile.work), pile.service_date
    terms = pricing.terms(Month.of(day))
    if not work.billable or excludes(terms, work.kind, pricing.phase(work, day)):
        return None if pile.billed else Group(work, day, members)
    if not pile.approved and terms.approval != "none":
        return None
    if pile.billed is not None:
        return Group(work, day, members, billed=pile.billed)
    price = pricing.quote(work, day)
    if isinstance(price, Unpriced):
        return None
    return Group(work, day, members, price=price)
