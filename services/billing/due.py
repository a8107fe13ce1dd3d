"""What is due of each entry: its current version when that may be billed, else what is billed."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from services.billing.books import BookEntry, LineKey
from services.billing.holds import Part, Questions, is_approved, parts_of
from services.billing.ledger import Ledger
from services.billing.pricing import Priced, Pricing

# new      nothing of the entry is billed
# same     the billed version is the current one, or a newer one says just as much of each billed
#          date: what is billed stands, more may be due
# changed  a newer version may be billed, at least in part: it takes the place of the billed one
# kept     a newer version is held as a whole, not approved or still open: what is billed stands
# gone     void or wholly retracted: nothing is due
Stand = Literal["new", "same", "changed", "kept", "gone"]
Dated = Mapping[tuple[LineKey, date], int]


@dataclass(frozen=True, slots=True)
class Decision:
    """One entry: seconds billed and seconds due, by key and service date, and its parts."""

    book: BookEntry
    stand: Stand
    parts: tuple[Part, ...]
    billed: Dated
    due: Dated

    @property
    def version(self) -> str | None:
        """The current version; None when nothing of the entry stands."""
        return self.book.entry.version if self.book.entry else None


def decide(book: BookEntry, questions: Questions, pricing: Pricing, ledger: Ledger) -> Decision:
    """Decide what is due of one entry, over all its months."""
    parts = parts_of(book, questions, pricing)
    billed = ledger.seconds_of(book.entry_id)
    approved = is_approved(book, questions, pricing)
    version = ledger.versions.get(book.entry_id)
    stand = _stand(book, parts, billed, version, approved=approved) if billed else "new"
    eligible = _eligible(parts)
    due: Dated = {}
    if stand in {"new", "changed"}:
        due = eligible
    elif stand == "same":
        due = {
            place: max(billed.get(place, 0), eligible.get(place, 0))
            for place in billed.keys() | eligible.keys()
        }
    elif stand == "kept":
        due = billed
    return Decision(book, stand, parts, billed, due)


def _stand(
    book: BookEntry,
    parts: tuple[Part, ...],
    billed: Dated,
    billed_version: str | None,
    *,
    approved: bool,
) -> Stand:
    entry = book.entry
    if book.in_question:
        return "same" if entry is not None and entry.version == billed_version else "kept"
    if entry is None or entry.status == "void":
        return "gone"
    if entry.version == billed_version:
        return "same"
    if not approved or _held_as_a_whole(parts):
        return "kept"
    return "same" if _says_what_is_billed(parts, billed) else "changed"


def _says_what_is_billed(parts: tuple[Part, ...], billed: Dated) -> bool:
    """Say whether a newer version changes no second of a date of which something is billed.

    It makes no line for such a date, so the ledger goes on to name an older version of it. Where
    only a part of a date may be billed, equal seconds do not tell that they are the same: no then.
    """
    said: dict[tuple[str, date], int] = defaultdict(int)
    eligible: dict[tuple[str, date], int] = defaultdict(int)
    for part in parts:
        if part.billable:
            place = part.segment.placement_id, part.segment.service_date
            said[place] += part.segment.seconds
            eligible[place] += part.segment.seconds if part.eligible else 0
    return all(
        said[key.placement_id, day] == seconds and eligible[key.placement_id, day] in {0, seconds}
        for (key, day), seconds in billed.items()
    )


def _held_as_a_whole(parts: tuple[Part, ...]) -> bool:
    billable = [part for part in parts if part.billable]
    return bool(billable) and not any(part.eligible for part in billable)


def _eligible(parts: tuple[Part, ...]) -> dict[tuple[LineKey, date], int]:
    seconds: dict[tuple[LineKey, date], int] = defaultdict(int)
    for part in parts:
        if part.eligible and part.segment.seconds:
            assert isinstance(part.price, Priced)
            seconds[part.price.key, part.segment.service_date] += part.segment.seconds
    return dict(seconds)
