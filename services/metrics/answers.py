"""What can be asked of metrics and what is answered, as models: the API's words."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.fields import Cursor, PageSize
from schemas.instants import check_day_text
from services.metrics.cohorts import Clock, Dimension, PhaseName, Unit, Window
from services.metrics.figures import Figure, Granularity
from services.metrics.scorecards import Card, Notices

SPAN_DAYS_MAX: Final = 731
WINDOWS_MAX: Final = 400
FIGURES_MAX: Final = 20_000  # some 9 MB to be written
EARLIEST: Final = date(2000, 1, 1)
LATEST: Final = date(2100, 1, 1)

MetricName = Literal[
    "turnaround",
    "slack",
    "first_pass_acceptance",
    "review_coverage",
    "escalation_rate",
    "throughput",
    "open_overdue",
    "hours",
    "hours_by_task_type",
]


def _listed(value: object) -> object:
    """Take `a,b` as well as `a` and `b` given apart; what is no text is for pydantic to judge."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        return value
    return tuple(part for text in given for part in text.split(","))


Metrics = Annotated[tuple[MetricName, ...], BeforeValidator(_listed), Field(min_length=1)]
Dimensions = Annotated[tuple[Dimension, ...], BeforeValidator(_listed)]
Clocks = Annotated[tuple[Clock, ...], BeforeValidator(_listed), Field(min_length=1)]
PhaseNames = Annotated[
    tuple[Literal[PhaseName, "all"], ...], BeforeValidator(_listed), Field(min_length=1)
]
Percents = Annotated[
    tuple[Annotated[int, Field(ge=1, le=99)], ...],
    BeforeValidator(_listed),
    Field(min_length=1, max_length=9),
]
Day = Annotated[
    date,
    BeforeValidator(check_day_text, json_schema_input_type=date),
    Field(ge=EARLIEST, le=LATEST),
]
FirmId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]


class SpanQuery(BaseModel):
    """What every question about figures says: dates of the firm's zone, and the phase."""

    model_config = ConfigDict(extra="forbid")

    from_date: Day = Field(alias="from", description="The first date, in the firm's zone.")
    to_date: Day = Field(alias="to", description="The date after the last.")
    net: bool = Field(True, description="Without the waits on the firm, client or third parties.")
    phase: PhaseNames = Field(("active",), description="One, several, or all; they never mix.")

    @model_validator(mode="after")
    def in_order(self) -> "SpanQuery":
        """Refuse a span that is empty, or too long to be computed on read."""
        if self.to_date <= self.from_date:
            raise PydanticCustomError("span_order", "to must be after from")
        if (self.to_date - self.from_date).days > SPAN_DAYS_MAX:
            raise PydanticCustomError("span_too_long", "ask for two years at most")
        return self

    @property
    def span(self) -> Window:
        """The dates asked for."""
        return Window(self.from_date, self.to_date)

    @property
    def phases(self) -> tuple[PhaseName, ...] | None:
        """The phases asked for; None for all."""
        named = tuple(dict.fromkeys(name for name in self.phase if name != "all"))
        return None if "all" in self.phase else named


class FiguresQuery(SpanQuery):
    """Which figures."""

    metric: Metrics
    granularity: Granularity = Field("all", description="One figure a day, ISO week, month or all.")
    group_by: Dimensions = Field((), description="A figure for each value of these.")
    clock: Clocks = Field(
        ("wall", "firm_business"), description="Wall time is always there, whatever is asked."
    )
    percentiles: Percents = Field((50, 90), description="Of durations; too few values give null.")

    @model_validator(mode="after")
    def not_too_many(self) -> "FiguresQuery":
        """Refuse more windows than anyone reads."""
        if self.granularity == "day" and (self.to_date - self.from_date).days > WINDOWS_MAX:
            raise PydanticCustomError("too_many_windows", "ask for 400 days at most day by day")
        return self

    @property
    def phases(self) -> tuple[PhaseName, ...] | None:
        """The phases asked for; grouped by phase and none named, all of them."""
        if "phase" in self.group_by and "phase" not in self.model_fields_set:
            return None
        return super().phases


class MembersQuery(SpanQuery):
    """Which tasks behind a figure."""

    clock: Clock = Field("wall", description="The clock of `seconds`.")
    placement: FirmId | None = Field(None, description="Those of one placement only.")
    task_type: str | None = Field(None, max_length=64, description="Those of one type only.")
    limit: PageSize = 100
    cursor: Cursor | None = None


class MetricPath(BaseModel):
    """A metric of a firm."""

    firm: FirmId
    metric: MetricName


class WeekPath(BaseModel):
    """An ISO week of a firm, like 2026-W28."""

    firm: FirmId
    iso_week: Annotated[str, Field(pattern=r"^[0-9]{4}-W[0-9]{2}$")]


@dataclass(frozen=True, slots=True)
class LogPlace:
    """A partition, and the first of its records after this firm's last one in these figures."""

    topic: str
    partition: int
    next: int


@dataclass(frozen=True, slots=True)
class DataAsOf:
    """The cut: how far the firm's log was read, and the instant up to which stock was counted.

    The instant is the minute of the reading, so that an unchanged answer stays the same for it.
    """

    instant: datetime
    positions: tuple[LogPlace, ...]


@dataclass(frozen=True, slots=True)
class FiguresAnswer:
    """Figures of a firm. `revision` 0: computed now, never published.

    failed_entities  tasks and entries that could not be read: they are in none of the figures
    """

    firm_id: str
    timezone: str
    from_date: date
    to_date: date
    figures: tuple[Figure, ...]
    failed_entities: int
    data_as_of: DataAsOf
    revision: int = 0


@dataclass(frozen=True, slots=True)
class MemberItem:
    """A task, escalation or entry behind a figure; `excluded` says why it does not count."""

    kind: Literal["task", "escalation", "entry"]
    id: str
    phase: PhaseName
    placement_id: str
    assistant_id: str | None
    task_type: str | None
    country: str | None
    date: date
    at: datetime | None
    counts: bool
    excluded: str | None
    hit: bool | None
    seconds: int | None


@dataclass(frozen=True, slots=True)
class MembersAnswer:
    """The members of a cohort, by date, instant and id; `next` is the cursor of the next page."""

    firm_id: str
    metric: str
    clock: Clock | None
    items: tuple[MemberItem, ...]
    next: str | None
    data_as_of: DataAsOf


@dataclass(frozen=True, slots=True)
class ScorecardAnswer:
    """A firm's week. `revision` 0: computed now, never published."""

    firm_id: str
    timezone: str
    week: str
    from_date: date
    to_date: date
    firm: tuple[Card, ...]
    placements: tuple[Card, ...]
    notices: Notices
    failed_entities: int
    data_as_of: DataAsOf
    revision: int = 0


@dataclass(frozen=True, slots=True)
class DefinitionItem:
    """What a metric means."""

    metric: str
    definition_version: int
    title: str
    unit: Unit
    anchor: str
    clocks: tuple[Clock, ...]
    beside: tuple[str, ...]
    formula: str
    edges: str


@dataclass(frozen=True, slots=True)
class DefinitionsAnswer:
    """Every metric that can be asked for."""

    definitions: tuple[DefinitionItem, ...]
