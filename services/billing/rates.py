"""Rates: the one version of the card that prices a piece of work on a date."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import product
from typing import Literal, NamedTuple

from services.billing.books import ANY, Rate


class Work(NamedTuple):
    """What a rate is looked up for."""

    placement_id: str
    country: str
    role: str
    phase: str


class Unpriced(NamedTuple):
    """Why no rate prices the work: none is there, two claim it, or it is of another currency."""

    code: Literal["unrated", "rate_ambiguous", "currency_mismatch"]
    detail: str


class _Cell(NamedTuple):
    """A row's place on the card; its fields stand in the order of their weight."""

    placement_id: str
    firm_id: str
    country: str
    role: str
    phase: str


class Card:
    """A firm's view of a rate card; the rows given are those in force."""

    def __init__(self, rates: Iterable[Rate], firm_id: str, currency: str) -> None:
        self._firm_id = firm_id
        self._currency = currency
        self._cells: dict[_Cell, list[Rate]] = defaultdict(list)
        for rate in rates:
            if rate.firm_id in (ANY, firm_id):
                self._cells[_cell_of(rate)].append(rate)
        self._found: dict[tuple[Work, date], Rate | Unpriced] = {}

    def find(self, work: Work, day: date) -> Rate | Unpriced:
        """Return the most specific rate on a date, or why there is none; 0 is a rate.

        Placement (whatever its country and role) > firm > anyone; in each with country > without,
        then role, then phase. A specific rate of another currency blocks: none lies behind it.
        """
        found = self._found.get((work, day))
        if found is None:
            found = self._found[work, day] = self._look_up(work, day)
        return found

    def _look_up(self, work: Work, day: date) -> Rate | Unpriced:
        for cell in self._candidates(work):
            valid = [rate for rate in self._cells.get(cell, ()) if _is_valid(rate, day)]
            if len(valid) > 1:
                return Unpriced("rate_ambiguous", " ".join(sorted(r.rate_id for r in valid)))
            if valid and valid[0].currency != self._currency:
                return Unpriced("currency_mismatch", f"{valid[0].rate_id} {valid[0].currency}")
            if valid:
                return valid[0]
        return Unpriced("unrated", " ".join(work))

    def _candidates(self, work: Work) -> Iterator[_Cell]:
        yield _Cell(work.placement_id, ANY, ANY, ANY, work.phase)
        yield _Cell(work.placement_id, ANY, ANY, ANY, ANY)
        for cell in product(
            (self._firm_id, ANY), (work.country, ANY), (work.role, ANY), (work.phase, ANY)
        ):
            yield _Cell(ANY, *cell)


def _cell_of(rate: Rate) -> _Cell:
    if rate.placement_id != ANY:
        return _Cell(rate.placement_id, ANY, ANY, ANY, rate.phase)
    return _Cell(ANY, rate.firm_id, rate.country, rate.role, rate.phase)


def _is_valid(rate: Rate, day: date) -> bool:
    return rate.valid_from <= day and (rate.valid_to is None or day < rate.valid_to)
