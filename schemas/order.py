"""Which facts of an entity count, and in which order they are folded."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from schemas.events import RANKS, EntityKey, EventRetracted
from schemas.facts import Cut, Fact

ADMIN = "admin:"


class Anomaly(NamedTuple):
    """Something odd about the event (`source`, `id`): kept, counted and shown, never raised.

    Codes from here: `conflict` (other content came under a spent identity); `retraction_unmatched`
    and `retraction_not_allowed` (a retraction that counts for nothing). Folds add their own.
    """

    code: str
    source: str
    id: str


@dataclass(frozen=True, slots=True)
class Standing:
    """The facts that count, in fold order, and what was odd about those that do not.

    Retractions are spent here: they are not among `facts`. A fact that came several times has the
    least `received_at` and position of its copies, and the principal of the copy received first.
    """

    facts: tuple[Fact, ...]
    anomalies: tuple[Anomaly, ...]


class Identity(NamedTuple):
    """What names an event for ever, also after it was retracted.

    A retraction never shares the identity of another event: else one that came under the ids of
    what it means to take, from whoever may not, would count as a copy of it, or before it.
    """

    entity: EntityKey
    source: str
    id: str
    retracts: bool


class _Counting(NamedTuple):
    """What counts of one identity, who sent that, and who sent anything under it."""

    fact: Fact
    senders: frozenset[str]
    any_senders: frozenset[str]
    conflict: bool


def standing(facts: Iterable[Fact], cut: Cut | None = None) -> Standing:
    """Return what stands of an entity's facts: a function of their set, however they came.

    In turn: records outside the cut are not looked at, and events timed after its instant drop
    out; copies of one content are one fact; of several contents of an identity the one with the
    least (received_at, content hash) counts; retractions take their targets; the rest is sorted.
    """
    copies: dict[Identity, list[Fact]] = defaultdict(list)
    for fact in facts:
        if cut is None or _lies_inside(fact, cut):
            copies[_identity(fact)].append(fact)
    counting = {identity: _what_counts(found) for identity, found in copies.items()}
    retracted, anomalies = _retractions(counting)
    anomalies.update(
        Anomaly("conflict", identity.source, identity.id)
        for identity, found in counting.items()
        if found.conflict and identity not in retracted
    )
    kept = (
        found.fact
        for identity, found in counting.items()
        if identity not in retracted and not identity.retracts
    )
    return Standing(tuple(sorted(kept, key=order_key)), tuple(sorted(anomalies)))


def _identity(fact: Fact) -> Identity:
    return Identity(fact.entity, fact.source, fact.id, isinstance(fact.data, EventRetracted))


def order_key(fact: Fact) -> tuple[datetime, int, str, tuple[bool, int], str, EntityKey]:
    """Order facts for a fold: time, rank of the type, source, sequence (absent first), id."""
    sequence = (fact.sequence is not None, fact.sequence or 0)
    rank = RANKS[fact.type]
    return fact.time.astimezone(UTC), rank, fact.source, sequence, fact.id, fact.entity


def reception_key(fact: Fact) -> tuple[datetime, bytes, str, str]:
    """Order facts as ingest received them, whatever times they claim."""
    return fact.received_at, fact.content_hash, fact.source, fact.id


def _lies_inside(fact: Fact, cut: Cut) -> bool:
    return cut.holds(fact.position) and (cut.instant is None or fact.time <= cut.instant)


def _what_counts(copies: list[Fact]) -> _Counting:
    """Join the copies of one identity: first those of equal content, then choose a content."""
    if len(copies) == 1:  # nearly always
        only = frozenset((copies[0].principal,))
        return _Counting(copies[0], only, only, conflict=False)
    contents: dict[bytes, list[Fact]] = defaultdict(list)
    for copy in copies:
        contents[copy.content_hash].append(copy)
    first = min(copies, key=lambda copy: (copy.received_at, copy.content_hash))
    same = contents[first.content_hash]
    earliest = min(same, key=lambda copy: (copy.received_at, copy.principal))
    return _Counting(
        fact=replace(earliest, position=min(copy.position for copy in same)),
        senders=frozenset(copy.principal for copy in same),
        any_senders=frozenset(copy.principal for copy in copies),
        conflict=len(contents) > 1,
    )


def _retractions(
    counting: Mapping[Identity, _Counting],
) -> tuple[set[Identity], set[Anomaly]]:
    """Judge every retraction: what it takes away, or that it counts for nothing."""
    retracted: set[Identity] = set()
    anomalies: set[Anomaly] = set()
    for identity, found in counting.items():
        data = found.fact.data
        if not isinstance(data, EventRetracted):
            continue
        target = Identity(identity.entity, data.target_source, data.target_id, retracts=False)
        aimed = counting.get(target)
        if aimed is None:
            anomalies.add(Anomaly("retraction_unmatched", identity.source, identity.id))
        elif not _may_retract(found.senders, aimed.any_senders):
            anomalies.add(Anomaly("retraction_not_allowed", identity.source, identity.id))
        else:
            retracted.add(target)
    return retracted, anomalies


def _may_retract(principals: frozenset[str], senders: frozenset[str]) -> bool:
    """Who sent any copy of the target may take it back, and an admin may."""
    return not principals.isdisjoint(senders) or any(p.startswith(ADMIN) for p in principals)
