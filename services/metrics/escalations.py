"""Escalations: the fold of those about no task, and how many tasks had one."""

from collections.abc import Iterable, Iterator
from operator import attrgetter

from schemas.directory import Directory
from schemas.events import EscalationData, EscalationRaised
from schemas.facts import Cut, Fact
from schemas.order import Anomaly, reception_key, standing
from services.metrics import pairs
from services.metrics.cohorts import Definition, Member, Timing, Window, Work
from services.metrics.records import PlacedEscalation
from services.metrics.tasks import place_work


def fold_escalation(
    facts: Iterable[Fact], directory: Directory, cut: Cut | None = None
) -> PlacedEscalation | None:
    """Fold all facts of one escalation that is about no task. None when nothing of it stands.

    It is of the placement that is named in what was received first; others raise it in vain.
    """
    stood = standing(facts, cut)
    if not stood.facts:
        return None
    first = min(stood.facts, key=reception_key)
    placement_id = _placement(first)
    own, odd = [], set(stood.anomalies)
    for fact in stood.facts:
        if isinstance(fact.data, EscalationRaised) and _placement(fact) != placement_id:
            odd.add(Anomaly("other_placement", fact.source, fact.id))
        else:
            own.append(fact)
    found, oddities = pairs.escalations(own)
    raised_at = found[0].raised_at if found else None
    return PlacedEscalation(
        firm_id=first.entity.firm_id,
        escalation_id=first.entity.entity_id,
        place=place_work(placement_id, None, raised_at, directory),
        escalations=found,
        anomalies=tuple(sorted(odd | oddities)),
    )


def _placement(fact: Fact) -> str:
    assert isinstance(fact.data, EscalationData)
    return fact.data.placement_id


def measure_rate(work: Work, window: Window, timing: Timing) -> Iterator[Member]:
    """Name the tasks first worked on in a window, and the escalations in it about no task."""
    del timing
    for found in work.anchored(window, attrgetter("first_worked_at")):
        yield found.member(hit=found.task.is_escalated, excluded=found.cancelled)
    for loose in work.escalations:
        if not loose.escalations:
            continue
        at = loose.escalations[0].raised_at
        if window.holds(work.day_of(at)):
            yield Member(
                "escalation",
                loose.escalation_id,
                loose.place,
                work.day_of(at),
                at,
                excluded="about_no_task",
            )


ESCALATION_RATE = Definition(
    metric="escalation_rate",
    version=1,
    title="Escalation rate",
    unit="share",
    summary="share",
    anchor="first_worked_at",
    formula="Tasks with at least one escalation ÷ tasks started or submitted for the first time.",
    edges="Read it on both sides: near zero may mean guessing, very high stalling. Escalations"
    " about no task are counted apart, as about_no_task.",
    measure=measure_rate,
    counts_loose=True,
)
