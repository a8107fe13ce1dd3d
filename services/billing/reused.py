"""Event ids that stand under several entries: a mix-up that only a retraction can solve (pure)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from schemas.events import EntityKey
from schemas.facts import Cut, Fact
from schemas.order import standing


def sharing_an_id(facts: Mapping[EntityKey, Sequence[Fact]], cut: Cut) -> frozenset[str]:
    """Name the entries of a firm under whose event id another entry's event stands inside a cut.

    `facts` are all of each entry's; what is retracted stands nowhere, and so is shared no longer.
    """
    entries: dict[tuple[str, str], set[str]] = defaultdict(set)
    for key, found in facts.items():
        for fact in standing(found, cut).facts:
            entries[fact.source, fact.id].add(key.entity_id)
    return frozenset().union(*(sharing for sharing in entries.values() if len(sharing) > 1))
