"""Accuracy: how many tasks were accepted as they first came, and how many were looked at at all."""

from collections.abc import Iterator
from operator import attrgetter

from services.metrics.cohorts import Definition, Member, Timing, Window, Work


def measure_first_pass(work: Work, window: Window, timing: Timing) -> Iterator[Member]:
    """Name the tasks whose first review by a person lies in a window."""
    del timing
    for found in work.anchored(window, attrgetter("first_reviewed_at")):
        excluded = found.cancelled
        if not found.task.is_reviewed:
            excluded = excluded or "auto_timeout"
        yield found.member(hit=found.task.is_first_pass, excluded=excluded)


def measure_coverage(work: Work, window: Window, timing: Timing) -> Iterator[Member]:
    """Name the tasks first submitted in a window; those that a person reviewed, ever, are hits."""
    del timing
    for found in work.anchored(window, attrgetter("first_submitted_at")):
        yield found.member(hit=found.task.is_reviewed, excluded=found.cancelled)


FIRST_PASS_ACCEPTANCE = Definition(
    metric="first_pass_acceptance",
    version=1,
    title="First-pass acceptance",
    unit="share",
    summary="share",
    anchor="first_reviewed_at",
    formula="Tasks accepted as they were ÷ tasks reviewed by a person: the first attorney or"
    " qa_sample review of the lowest reviewed attempt decides.",
    edges="An acceptance by timeout is no review. Accepted with corrections is not first pass."
    " Read it with review_coverage.",
    measure=measure_first_pass,
    beside=("review_coverage",),
)
REVIEW_COVERAGE = Definition(
    metric="review_coverage",
    version=1,
    title="Review coverage",
    unit="share",
    summary="share",
    anchor="first_submitted_at",
    formula="Tasks that a person reviewed ÷ tasks first submitted in the window.",
    edges="A later review raises the share of the window in which the task was submitted.",
    measure=measure_coverage,
)
