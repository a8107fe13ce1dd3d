"""Every metric by its name: what can be asked for, and in which words it is defined."""

from collections.abc import Iterable, Mapping
from typing import Final

from services.metrics.accuracy import FIRST_PASS_ACCEPTANCE, REVIEW_COVERAGE
from services.metrics.cohorts import Definition
from services.metrics.escalations import ESCALATION_RATE
from services.metrics.hours import HOURS, HOURS_BY_TASK_TYPE
from services.metrics.throughput import OPEN_OVERDUE, THROUGHPUT
from services.metrics.turnaround import SLACK, TURNAROUND

DEFINITIONS: Final[Mapping[str, Definition]] = {
    definition.metric: definition
    for definition in (
        TURNAROUND,
        SLACK,
        FIRST_PASS_ACCEPTANCE,
        REVIEW_COVERAGE,
        ESCALATION_RATE,
        THROUGHPUT,
        OPEN_OVERDUE,
        HOURS,
        HOURS_BY_TASK_TYPE,
    )
}


def choose(metrics: Iterable[str]) -> tuple[Definition, ...]:
    """Return the definitions of some metrics, each followed by what always stands beside it."""
    names: dict[str, None] = {}
    for metric in metrics:
        names |= dict.fromkeys((metric, *DEFINITIONS[metric].beside))
    return tuple(DEFINITIONS[name] for name in names)
