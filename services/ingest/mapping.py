"""Mapping: ordered rules that turn a tool's words into a placement, a task type and a matter."""

from typing import Annotated

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

    def fits(self, stint: Stint) -> bool:
        """Say whether a row meets every condition that this rule has."""
        return (
            self.client in (None, stint.client)
            and self.project in (None, stint.project)
            and self.task in (None, stint.task)
            and (self.tag is None or self.tag in stint.tags)
            and (
                self.user is None
                or self.user == stint.user
                or self.user.casefold() == stint.email.casefold()
            )
        )


class Rules(BaseModel):
    """The rules in their order; a row takes each thing from the first that fits and gives it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    # Of many wrong ones the first is told: to list all would take longer than anyone waits.
    rule: Annotated[tuple[Rule, ...], Field(max_length=RULES_MAX, strict=False), FailFast()] = ()


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
    given: dict[str, object] = {}
    for rule in rules.rule:
        if rule.fits(stint):
            for name in Given.model_fields:
                value = getattr(rule, name)
                if value is not None:
                    given.setdefault(name, value)
    if firm_id is not None:
        given.setdefault("firm_id", firm_id)
    return Given.model_validate(given)
