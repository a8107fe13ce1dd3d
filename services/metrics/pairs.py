"""What belongs together is joined by its id: holds with resumes, escalations with resolutions."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar

from schemas.events import (
    EscalationAcknowledged,
    EscalationData,
    EscalationRaised,
    EscalationResolved,
    TaskHeld,
    TaskSubmitted,
)
from schemas.facts import Fact
from schemas.instants import whole_second
from schemas.order import Anomaly
from services.metrics.records import Escalation, Hold

T = TypeVar("T")
HELD = "turnsheet.task.held.v1"


class Pair(NamedTuple):
    """An opening and the closing that ends it, by their places in the fold; None: still open."""

    opening: int
    closing: int | None


@dataclass(frozen=True, slots=True)
class Paired:
    """The pairs of one id, and the closings that nothing opened."""

    pairs: tuple[Pair, ...]
    unmatched: tuple[int, ...]


def pair(openings: Sequence[int], closings: Sequence[int]) -> Paired:
    """Pair the openings and closings of one id, both given by their places in the fold, ascending.

    Each opening goes with the next closing, which two may share; one without a later closing takes
    the nearest earlier one that is free, and then lasts no time at all.
    """
    later = [Pair(opening, _next(closings, opening)) for opening in openings]
    taken = {closing for _, closing in later}
    free = [closing for closing in closings if closing not in taken]
    pairs = []
    for opening, closing in later:
        chosen = closing
        if chosen is None and free:  # every closing lies before this opening: the last is nearest
            chosen = free.pop()
        pairs.append(Pair(opening, chosen))
    return Paired(tuple(pairs), tuple(free))


class Stretch(NamedTuple):
    """One opening that counts: where it stands in the fold, where it ends, and its closing."""

    opening: int
    end: int | None
    closing: int | None


class Stretches(NamedTuple):
    """All stretches of one sort of opening, and what was odd."""

    found: tuple[Stretch, ...]
    anomalies: frozenset[Anomaly]


def stretches(
    facts: Sequence[Fact],
    ids: Callable[[Fact], tuple[str, bool] | None],
    noun: str,
) -> Stretches:
    """Find the stretches among a task's facts in fold order.

    `ids` says for a fact of this sort its id and whether it opens; a submission ends whatever is
    open. An opening inside a stretch of its own id is `<noun>_repeated` and opens nothing; a
    closing that closes nothing is `<noun>_unmatched`.
    """
    openings: dict[str, list[int]] = defaultdict(list)
    closings: dict[str, list[int]] = defaultdict(list)
    for place, fact in enumerate(facts):
        if (found := ids(fact)) is not None:
            (openings if found[1] else closings)[found[0]].append(place)
    submits = [n for n, fact in enumerate(facts) if isinstance(fact.data, TaskSubmitted)]
    kept: list[Stretch] = []
    odd: set[Anomaly] = set()
    for key in openings.keys() | closings.keys():
        paired = pair(openings[key], closings[key])
        odd.update(_odd(f"{noun}_unmatched", facts[place]) for place in paired.unmatched)
        last: Stretch | None = None
        for opening, closing in paired.pairs:
            if last is not None and (last.end is None or opening < last.end):
                odd.add(_odd(f"{noun}_repeated", facts[opening]))
                continue
            ends = [place for place in (closing, _next(submits, opening)) if place is not None]
            last = Stretch(opening, min(ends, default=None), closing)
            kept.append(last)
    return Stretches(tuple(sorted(kept)), frozenset(odd))


def holds(facts: Sequence[Fact]) -> tuple[tuple[Hold, ...], Stretches]:
    """Find the holds of a task among its facts in fold order."""

    def ids(fact: Fact) -> tuple[str, bool] | None:
        data = fact.data
        return (data.hold_id, fact.type == HELD) if isinstance(data, TaskHeld) else None

    found = stretches(facts, ids, "hold")
    made = []
    for opening, end, _ in found.found:
        data = facts[opening].data
        assert isinstance(data, TaskHeld)
        started_at = whole_second(facts[opening].time)
        made.append(Hold(data.hold_id, data.reason, started_at, _ended(facts, opening, end)))
    return tuple(made), found


def escalations(facts: Sequence[Fact]) -> tuple[tuple[Escalation, ...], frozenset[Anomaly]]:
    """Find the escalations among facts in fold order: those of a task, or of one escalation."""

    def ids(fact: Fact) -> tuple[str, bool] | None:
        data = fact.data
        if isinstance(data, EscalationRaised | EscalationResolved):
            return data.escalation_id, isinstance(data, EscalationRaised)
        return None

    found = stretches(facts, ids, "escalation")
    raised = {_id(facts[stretch.opening]) for stretch in found.found}
    odd = {
        _odd("escalation_unmatched", fact)
        for fact in facts
        if isinstance(fact.data, EscalationAcknowledged) and fact.data.escalation_id not in raised
    }
    answered = _answered(facts, [stretch.opening for stretch in found.found])
    made = tuple(_escalation(facts, stretch, answered[stretch.opening]) for stretch in found.found)
    return made, found.anomalies | odd


def _answered(facts: Sequence[Fact], raised: Sequence[int]) -> dict[int, int | None]:
    """Find the acknowledgement of each escalation, by where it was raised: one answers one."""
    seen: dict[str, list[int]] = defaultdict(list)
    for place, fact in enumerate(facts):
        if isinstance(fact.data, EscalationAcknowledged):
            seen[fact.data.escalation_id].append(place)
    openings: dict[str, list[int]] = defaultdict(list)
    for place in sorted(raised):
        openings[_id(facts[place])].append(place)
    return {
        one.opening: one.closing
        for name, places in openings.items()
        for one in pair(places, seen[name]).pairs
    }


def _escalation(facts: Sequence[Fact], stretch: Stretch, answered: int | None) -> Escalation:
    raised = facts[stretch.opening]
    data = raised.data
    assert isinstance(data, EscalationRaised)
    resolved = None if stretch.closing is None else facts[stretch.closing].data
    assert resolved is None or isinstance(resolved, EscalationResolved)
    minutes = [
        told.handling_minutes
        for told in (None if answered is None else facts[answered].data, resolved)
        if isinstance(told, EscalationAcknowledged | EscalationResolved)
        and told.handling_minutes is not None
    ]
    return Escalation(
        escalation_id=data.escalation_id,
        category=data.category,
        blocking=data.blocking,
        raised_at=whole_second(raised.time),
        acknowledged_at=_ended(facts, stretch.opening, answered),
        resolved_at=_ended(facts, stretch.opening, stretch.closing),
        pause_ended_at=_ended(facts, stretch.opening, stretch.end),
        disposition=None if resolved is None else resolved.disposition,
        handling_minutes=sum(minutes) if minutes else None,
    )


def _ended(facts: Sequence[Fact], opening: int, end: int | None) -> datetime | None:
    """Return the instant of an end; one that was stamped before its opening ends it at once."""
    return None if end is None else whole_second(facts[max(opening, end)].time)


def _next(places: Sequence[int], after: int) -> int | None:
    """Find the first of some ascending places that lies after one: a search, there may be many."""
    number = bisect_right(places, after)
    return places[number] if number < len(places) else None


def _id(fact: Fact) -> str:
    assert isinstance(fact.data, EscalationData)
    return fact.data.escalation_id


def _odd(code: str, fact: Fact) -> Anomaly:
    return Anomaly(code, fact.source, fact.id)
