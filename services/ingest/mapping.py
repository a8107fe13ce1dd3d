"""Mapping: ordered rules that turn a tool's words into a placement, a task type and a matter."""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, FailFast, Field

from schemas.fields import Id, Ref, TaskType, WorkKind
from services.ingest.rows import Stint

Word = Annotated[str, Field(min_length=1, max_length=500)]
RULES_MAX = 5_000
NEEDED = ("firm_id", "placement_id", "task_type")


class Rule(BaseModel):
    """One rule: a row that fits all of its conditions takes what it gives.

    Conditions are whole words of the tool; `user` fits a name or an e-mail address.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    client: Word | None = None
    project: Word | None = None
    task: Word | None = None
    tag: Word | None = None
    user: Word | None = None

    firm_id: Id | None = None
    placement_id: Id | None = None
    task_type: TaskType | None = None
    matter_ref: Ref | None = None
    kind: WorkKind | None = None
    billable: bool | None = None


class _Words(NamedTuple):
    """A row's words as conditions are compared with them: made once, for a cell may be long."""

    client: str
    project: str
    task: str
    tags: frozenset[str]
    user: str
    email: str  # folded


class _Trial(NamedTuple):
    """A rule as it is tried on a row's words: a file may need millions of trials."""

    client: str | None
    project: str | None
    task: str | None
    tag: str | None
    user: str | None
    email: str | None  # the user's condition, folded
    gives: Sequence[tuple[str, object]]  # by the names of `Given`

    def fits(self, words: _Words) -> bool:
        """Say whether a row meets every condition that the rule has."""
        return (
            (self.client is None or self.client == words.client)
            and (self.project is None or self.project == words.project)
            and (self.task is None or self.task == words.task)
            and (self.tag is None or self.tag in words.tags)
            and (self.user is None or self.user == words.user or self.email == words.email)
        )


class Rules(BaseModel):
    """The rules in their order; a row takes each thing from the first that fits and gives it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    # Of many wrong ones the first is told: to list all would take longer than anyone waits.
    rule: Annotated[tuple[Rule, ...], Field(max_length=RULES_MAX, strict=False), FailFast()] = ()

    @cached_property
    def trials(self) -> Sequence[_Trial]:
        """The rules as they are tried, in their order."""
        return [
            _Trial(
                rule.client,
                rule.project,
                rule.task,
                rule.tag,
                rule.user,
                rule.user and rule.user.casefold(),
                [(n, v) for n in Given.model_fields if (v := getattr(rule, n)) is not None],
            )
            for rule in self.rule
        ]


class Given(BaseModel):
    """What the rules give for a row; None where none gives it."""

    model_config = ConfigDict(frozen=True)

    firm_id: str | None = None
    placement_id: str | None = None
    task_type: TaskType | None = None
    matter_ref: str | None = None
    kind: WorkKind | None = None
    billable: bool | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """What no rule gives and no row can do without."""
        return tuple(name for name in NEEDED if getattr(self, name) is None)


def apply_rules(rules: Rules, stint: Stint, firm_id: str | None = None) -> Given:
    """Find what the rules give for a row; `firm_id` stands in where none names the firm."""
    words = _Words(
        stint.client,
        stint.project,
        stint.task,
        frozenset(stint.tags),
        stint.user,
        stint.email.casefold(),
    )
    given: dict[str, object] = {}
    for trial in rules.trials:
        if trial.fits(words):
            for name, value in trial.gives:
                given.setdefault(name, value)
    if firm_id is not None:
        given.setdefault("firm_id", firm_id)
    return Given.model_validate(given)
