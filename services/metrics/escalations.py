"""Escalations: the fold of those about no task, and how many tasks had one."""

from collections.abc import Iterable

from schemas.directory import Directory
from schemas.events import EscalationData
from schemas.facts import Cut, Fact
from schemas.order import standing
from services.metrics import pairs
from services.metrics.records import PlacedEscalation
from services.metrics.tasks import place_work


def fold_escalation(
    facts: Iterable[Fact], directory: Directory, cut: Cut | None = None
) -> PlacedEscalation | None:
    """Fold all facts of one escalation that is about no task. None when nothing of it stands."""
    stood = standing(facts, cut)
    if not stood.facts:
        return None
    found, odd = pairs.escalations(stood.facts)
    first = stood.facts[0]
    assert isinstance(first.data, EscalationData)
    raised_at = found[0].raised_at if found else None
    return PlacedEscalation(
        firm_id=first.entity.firm_id,
        escalation_id=first.entity.entity_id,
        place=place_work(first.data.placement_id, None, raised_at, directory),
        escalations=found,
        anomalies=tuple(sorted({*stood.anomalies, *odd})),
    )
