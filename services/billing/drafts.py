"""Drafts: what a run decides about one firm and period; dry run and replay are the same call."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from schemas.canonical import canonical_hash
from schemas.periods import Month
from services.billing.books import (
    Blocked,
    BookEntry,
    Draft,
    EntryMissingError,
    FirmBooks,
    IssuedLine,
    Line,
    Notice,
    OpenTimer,
    Outcome,
)
from services.billing.buckets import billed_though, buckets, held
from services.billing.due import Decision, decide
from services.billing.holds import ask
from services.billing.lines import lines
from services.billing.overlaps import is_runaway
from services.billing.plain import Sifted, unsifted
from services.billing.rates import Unpriced


def draft(books: FirmBooks, sifted: Sifted | None = None) -> Draft:
    """Decide what one firm is billed for a period: a pure function of its books.

    `sifted`: the books hold only the entries that it leaves to be judged; the draft is that of all.
    Raises EntryMissingError and UnbalancedError where the books themselves are wrong.
    """
    known = sifted or unsifted(books)
    ledger, pricing, plain = known.ledger, known.pricing, known.plain
    entries = sorted(books.entries, key=lambda book: book.entry_id)
    missing = known.judged - {book.entry_id for book in entries}
    if missing:
        raise EntryMissingError(f"to be judged, but not gathered: {sorted(missing)[:10]}")
    questions = ask(books)
    decisions = [decide(book, questions, pricing, ledger) for book in entries]
    made = lines(decisions, plain, books.period, books.firm.currency, pricing, ledger)
    total_minor = sum(line.difference.amount_minor for line in made)
    outcome = _outcome(made, total_minor)
    standing = buckets(decisions, plain, books.period, ledger, None)
    issuing = outcome == "document"
    return Draft(
        firm=books.firm,
        period=books.period,
        run=books.run,
        outcome=outcome,
        lines=made,
        total_minor=total_minor,
        held=held(decisions, books.period),
        buckets=standing,
        buckets_if_issued=(
            buckets(decisions, plain, books.period, ledger, made) if issuing else standing
        ),
        open_timers=tuple(_open_timers(entries, books.run.instant)),
        notices=tuple(sorted(_notices(decisions))),
        blocked=(*_out_of_order(books), *_unpriced(decisions, books.period)),
        issued_digest=issued_digest(books.issued),
    )


def issued_digest(issued: Iterable[IssuedLine]) -> str:
    """Name the issued lines that a draft was computed from: issue compares it again."""
    told = sorted(
        [
            str(line.period),
            line.origin.number,
            line.origin.line_number,
            str(line.line.key.service_month),
            line.line.key.placement_id,
            line.line.key.rate_id,
            *line.line.difference,
        ]
        for line in issued
    )
    return canonical_hash(told).hex()


def _outcome(made: tuple[Line, ...], total_minor: int) -> Outcome:
    if not made:
        return "nothing_due"
    return "carried" if total_minor < 0 else "document"


def _out_of_order(books: FirmBooks) -> Iterator[Blocked]:
    """A firm's months are invoiced in order, each once, from its first settled one on."""
    if not books.settled:
        return
    first, last = min(books.settled), max(books.settled)
    if books.period in books.settled:
        yield Blocked("period_settled", str(books.period))
    elif books.period < first:
        yield Blocked("period_before_first", str(first))
    elif books.period != last.next():
        yield Blocked("month_order", str(last.next()))


def _unpriced(decisions: Iterable[Decision], period: Month) -> list[Blocked]:
    """Name each rate that is missing, claimed twice or of another currency, once."""
    found = set()
    for decision in decisions:
        for part in decision.parts:
            if isinstance(part.price, Unpriced) and part.service_month <= period:
                found.add(Blocked(part.price.code, part.price.detail))
    return sorted(found)


def _open_timers(entries: Iterable[BookEntry], instant: datetime) -> Iterator[OpenTimer]:
    for book in entries:
        entry = book.entry
        if entry is not None and entry.status == "open":
            runaway = is_runaway(entry, instant)
            yield OpenTimer(entry.entry_id, entry.placement_id, entry.started_at, runaway)


def _notices(decisions: Iterable[Decision]) -> Iterator[Notice]:
    """What is billed and would be held today stays billed, and is listed."""
    for decision in decisions:
        for why in billed_though(decision):
            yield Notice(f"billed_{why}", decision.book.entry_id, "what is billed stays billed")
