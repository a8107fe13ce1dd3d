"""The ledger: what a firm's issued lines carry, added up by key and by entry."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from schemas.money import line_cents, minor_digits
from services.billing.books import IssuedLine, LineKey, Origin, Stamp, Sums, UnbalancedError


class Billed(NamedTuple):
    """Seconds of one entry version on one date that issued lines carry, net."""

    seconds: int
    rounded_seconds: int


@dataclass(frozen=True, slots=True)
class Story:
    """All that was ever issued under one key: its whole, its first line and that line's stamp."""

    sums: Sums
    origin: Origin
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Ledger:
    """The issued lines of a firm.

    entries   by entry and key, what is billed by (version, service date); nothing that is net zero
    versions  by entry, the version that was billed last
    stamps    by (entry, service date, placement), the key that it is billed under
    """

    stories: Mapping[LineKey, Story]
    entries: Mapping[str, Mapping[LineKey, Mapping[tuple[str, date], Billed]]]
    versions: Mapping[str, str]
    stamps: Mapping[tuple[str, date, str], LineKey]

    def seconds_of(self, entry_id: str) -> dict[tuple[LineKey, date], int]:
        """Return an entry's billed seconds by key and service date, all versions together."""
        billed: dict[tuple[LineKey, date], int] = defaultdict(int)
        for key, rows in self.entries.get(entry_id, {}).items():
            for (_version, day), found in rows.items():
                billed[key, day] += found.seconds
        return {place: seconds for place, seconds in billed.items() if seconds}


def open_ledger(issued: Iterable[IssuedLine]) -> Ledger:
    """Add up issued lines. Raises UnbalancedError where a key is not its rounded whole."""
    stories: dict[LineKey, Story] = {}
    rows: dict[tuple[str, LineKey, str, date], Billed] = {}
    versions: dict[str, str] = {}
    for line in sorted(issued, key=lambda line: (line.period, line.origin.line_number)):
        _add_line(stories, line)
        for row in line.line.rows:
            place = (row.entry_id, line.line.key, row.version, row.service_date)
            before = rows.get(place, Billed(0, 0))
            rows[place] = Billed(
                before.seconds + row.seconds, before.rounded_seconds + row.rounded_seconds
            )
            if row.seconds > 0:
                versions[row.entry_id] = row.version
    entries: dict[str, dict[LineKey, dict[tuple[str, date], Billed]]] = {}
    stamps: dict[tuple[str, date, str], LineKey] = {}
    for (entry_id, key, version, day), billed in rows.items():
        if billed != Billed(0, 0):
            entries.setdefault(entry_id, {}).setdefault(key, {})[version, day] = billed
            stamps[entry_id, day, key.placement_id] = key
    return Ledger(stories, entries, versions, stamps)


def _add_line(stories: dict[LineKey, Story], issued: IssuedLine) -> None:
    line = issued.line
    before = stories.get(line.key)
    old = before.sums if before else Sums()
    if line.old != old:
        raise UnbalancedError(f"{issued.origin}: {line.old} is not what was issued: {old}")
    whole = line_cents(
        line.new.rounded_seconds, line.stamp.rate_e4, minor_digits(line.stamp.currency)
    )
    if line.new.amount_minor != whole:
        raise UnbalancedError(f"{issued.origin}: {line.new} is not its rounded whole: {whole}")
    if before is None:
        stories[line.key] = Story(line.new, issued.origin, line.stamp)
    else:
        stories[line.key] = Story(line.new, before.origin, before.stamp)
