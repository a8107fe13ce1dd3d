"""Lines: under each key, what is due less what issued lines of that key already carry."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import chain

from schemas.money import line_cents, minor_digits
from schemas.periods import Month
from services.billing.books import Line, LineKey, Row, Stamp, Sums, Terms
from services.billing.due import Dated, Decision
from services.billing.increments import rounded_parts, rounded_seconds
from services.billing.ledger import Billed, Ledger
from services.billing.plain import Group
from services.billing.pricing import Priced, Pricing


@dataclass(slots=True)
class _Found:
    """What the parts under a new key say about it, until its stamp is made."""

    rate_e4: int
    assistants: set[str] = field(default_factory=set)
    roles: set[str] = field(default_factory=set)
    countries: set[str] = field(default_factory=set)


def lines(
    decisions: Iterable[Decision],
    plain: Iterable[Group],
    period: Month,
    currency: str,
    pricing: Pricing,
    ledger: Ledger,
) -> tuple[Line, ...]:
    """Return the lines that bring every key of the period or before to its rounded whole.

    A key whose seconds did not change has none; changed seconds make one, also of no amount.
    Regular lines come first, then adjustments, each by month, placement, first date and rate.
    """
    known = tuple(decisions)
    due = [(group.price, group) for group in plain if group.price is not None]
    stamps = _stamps(known, due, currency, pricing, ledger)
    rows: dict[LineKey, list[Row]] = defaultdict(list)
    for decision in known:
        for key in _changed_keys(decision, period):
            rows[key] += _rows(decision, key, stamps[key], ledger)
    for price, group in due:
        if price.key.service_month <= period:
            rows[price.key] += _plain_rows(group, stamps[price.key])
    made = (_line(key, sorted(found), period, stamps[key], ledger) for key, found in rows.items())
    return tuple(sorted(made, key=_order))


def _stamps(
    decisions: Iterable[Decision],
    due: Iterable[tuple[Priced, Group]],
    currency: str,
    pricing: Pricing,
    ledger: Ledger,
) -> dict[LineKey, Stamp]:
    """The stamp of each key: that of its issued lines, else as the parts under it were priced."""
    stamps = {key: story.stamp for key, story in ledger.stories.items()}
    new: dict[LineKey, _Found] = {}
    of_parts = (
        (part.price, part.segment.assistant_id)
        for decision in decisions
        for part in decision.parts
        if part.eligible and isinstance(part.price, Priced)
    )
    of_groups = ((price, group.work.assistant_id) for price, group in due)
    for price, assistant_id in chain(of_parts, of_groups):
        if price.key in stamps:
            continue
        found = new.setdefault(price.key, _Found(price.rate_e4))
        assert assistant_id is not None
        found.assistants.add(assistant_id)
        found.roles.add(price.role)
        found.countries.add(price.country)
    for key, found in new.items():
        stamps[key] = _stamp(found, currency, pricing.terms(key.service_month))
    return stamps


def _stamp(found: _Found, currency: str, terms: Terms) -> Stamp:
    return Stamp(
        assistant_id="+".join(sorted(found.assistants)),
        role="+".join(sorted(found.roles)),
        country="+".join(sorted(found.countries)),
        currency=currency,
        rate_e4=found.rate_e4,
        terms_id=terms.terms_id,
        terms_version=terms.version,
        increment=terms.increment,
    )


def _changed_keys(decision: Decision, period: Month) -> Iterator[LineKey]:
    """The keys under which an entry's due seconds are not those billed, date by date."""
    if decision.due == decision.billed:
        return
    for key in sorted({key for key, _day in decision.due.keys() | decision.billed.keys()}):
        changed = _under(decision.due, key) != _under(decision.billed, key)
        if changed and key.service_month <= period:
            yield key


def _under(dated: Dated, key: LineKey) -> dict[date, int]:
    return {day: seconds for (found, day), seconds in dated.items() if found == key and seconds}


def _rows(decision: Decision, key: LineKey, stamp: Stamp, ledger: Ledger) -> Iterator[Row]:
    """The entry's evidence under a key: its new rows, less those billed, version by version."""
    due = sorted(_under(decision.due, key).items())
    shares = rounded_parts([seconds for _day, seconds in due], stamp.increment)
    version = decision.version
    new: dict[tuple[str, date], Billed] = {}
    for (day, seconds), share in zip(due, shares, strict=True):
        assert version is not None
        new[version, day] = Billed(seconds, share)
    old = ledger.entries.get(decision.book.entry_id, {}).get(key, {})
    nothing = Billed(0, 0)
    for place in new.keys() | old.keys():
        after, before = new.get(place, nothing), old.get(place, nothing)
        if after != before:
            yield Row(
                decision.book.entry_id,
                *place,
                after.seconds - before.seconds,
                after.rounded_seconds - before.rounded_seconds,
            )


def _plain_rows(group: Group, stamp: Stamp) -> Iterator[Row]:
    """The evidence of plain entries, nothing of which is billed yet: one row each."""
    for entry_id, version, seconds in group.members:
        rounded = rounded_seconds(seconds, stamp.increment)
        yield Row(entry_id, version, group.service_date, seconds, rounded)


def _line(key: LineKey, rows: list[Row], period: Month, stamp: Stamp, ledger: Ledger) -> Line:
    story = ledger.stories.get(key)
    old = story.sums if story else Sums()
    rounded = old.rounded_seconds + sum(row.rounded_seconds for row in rows)
    new = Sums(
        seconds=old.seconds + sum(row.seconds for row in rows),
        rounded_seconds=rounded,
        amount_minor=line_cents(rounded, stamp.rate_e4, minor_digits(stamp.currency)),
    )
    return Line(
        kind="regular" if key.service_month == period and story is None else "adjustment",
        key=key,
        stamp=stamp,
        old=old,
        new=new,
        rows=tuple(rows),
        original=story.origin if story else None,
    )


def _order(line: Line) -> tuple[bool, Month, str, date, str]:
    first_date = min(row.service_date for row in line.rows)
    key = line.key
    return (
        line.kind == "adjustment",
        key.service_month,
        key.placement_id,
        first_date,
        key.rate_id,
    )
