"""What billing answers, as models: the API's words."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, TypeAlias

from services.billing.books import Approval, Direction, LineKind, Outcome, Reason
from services.billing.replays import Replay

State = Literal["draft", "approved", "issued", "superseded"]


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount: a decimal text, and its currency."""

    amount: str
    currency: str


# Reference data


@dataclass(frozen=True, slots=True)
class RateAnswer:
    """A rate an hour, valid on [valid_from, valid_to); "*" applies to all."""

    rate_id: str
    firm_id: str
    placement_id: str
    country: str
    role: str
    phase: str
    currency: str
    rate: str
    valid_from: date
    valid_to: date | None


@dataclass(frozen=True, slots=True)
class RatesAnswer:
    """The rate card in force."""

    rates: tuple[RateAnswer, ...]


@dataclass(frozen=True, slots=True)
class TermsAnswer:
    """A version of a firm's terms; version 0 is what applies while a firm has none."""

    version: int
    approval: Approval
    increment_minutes: int
    direction: Direction
    effective_month: str
    excluded_kinds: tuple[str, ...]
    excluded_phases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AllTermsAnswer:
    """A firm's terms: those of this month, and all versions."""

    current: TermsAnswer
    versions: tuple[TermsAnswer, ...]


# Timesheets


@dataclass(frozen=True, slots=True)
class TimesheetEntry:
    """An entry; `version` is what an approval names."""

    entry_id: str
    version: str
    placement_id: str
    assistant_id: str | None
    status: str
    service_date: date
    seconds: int
    approved: bool


@dataclass(frozen=True, slots=True)
class TimesheetAnswer:
    """A firm's entries of some service dates, by date and id; `next` is the next page's cursor."""

    entries: tuple[TimesheetEntry, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class ApprovedAnswer:
    """How many entry versions this approval names."""

    approved: int


# Runs


@dataclass(frozen=True, slots=True)
class SumsAnswer:
    """Seconds worked, rounded as the terms say, as hours and as an amount."""

    seconds: int
    rounded_seconds: int
    hours: str
    amount: Money


@dataclass(frozen=True, slots=True)
class OriginAnswer:
    """The line of an issued document that an adjustment refers to."""

    number: str
    line_number: int


@dataclass(frozen=True, slots=True)
class DraftLine(SumsAnswer):
    """A line of a draft: what it adds to what was billed before."""

    line_number: int
    kind: LineKind
    service_month: str
    placement_id: str
    assistant_id: str
    role: str
    country: str
    rate: str
    rate_version: str
    old: SumsAnswer
    new: SumsAnswer
    original: OriginAnswer | None
    entry_count: int


@dataclass(frozen=True, slots=True)
class BucketAnswer:
    """Where a service month's seconds went: worked is the sum of the others but the last two."""

    service_month: str
    worked_seconds: int
    billed_seconds: int
    held_seconds: dict[Reason, int]
    non_billable_seconds: int
    written_off_seconds: int
    unexplained_seconds: int
    rounding_seconds: int


@dataclass(frozen=True, slots=True)
class HeldAnswer:
    """Time that is not billed yet, and why."""

    reason: Reason
    service_month: str
    service_date: date | None
    entry_id: str
    version: str | None
    placement_id: str | None
    assistant_id: str | None
    seconds: int


@dataclass(frozen=True, slots=True)
class OpenTimerAnswer:
    """A timer without its other half."""

    entry_id: str
    placement_id: str
    started_at: datetime | None
    runaway: bool


@dataclass(frozen=True, slots=True)
class NoticeAnswer:
    """Something that finance should know of an entry."""

    code: str
    entry_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class BlockedAnswer:
    """Why a draft cannot be approved."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class FirmReport:
    """What a run decided about a firm."""

    firm_id: str
    period: str
    run_id: str
    outcome: Outcome
    total: Money
    lines: tuple[DraftLine, ...]
    buckets: tuple[BucketAnswer, ...]
    buckets_if_issued: tuple[BucketAnswer, ...]
    held: tuple[HeldAnswer, ...]
    open_timers: tuple[OpenTimerAnswer, ...]
    notices: tuple[NoticeAnswer, ...]
    blocked: tuple[BlockedAnswer, ...]
    issued_digest: str


@dataclass(frozen=True, slots=True)
class UndraftedReport:
    """A firm that the directory did not know at the cut, or whose draft failed."""

    firm_id: str
    outcome: Literal["unknown_firm", "failed"]
    blocked: tuple[BlockedAnswer, ...]


@dataclass(frozen=True, slots=True)
class RunFirm:
    """A firm of a run."""

    firm_id: str
    state: Literal["pending", "done"]
    invoice_id: str | None
    attempts: int
    trouble: str | None
    report: FirmReport | UndraftedReport | None


RunState: TypeAlias = Literal["waiting", "running", "done"]
LogEnd: TypeAlias = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class CutAnswer:
    """What a run read: the log up to these ends (topic, partition, next offset), at an instant."""

    instant: datetime
    ends: tuple[LogEnd, ...]


@dataclass(frozen=True, slots=True)
class RunItem:
    """A run of a month: over how many firms, and how many of them are done."""

    run_id: str
    state: RunState
    period: str
    dry_run: bool
    begun_at: datetime
    firms: int
    done: int


@dataclass(frozen=True, slots=True)
class RunsAnswer:
    """The runs of a month, the newest first."""

    runs: tuple[RunItem, ...]


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """A month run, as far as it is: how many firms it has, how many are done, and some of them.

    `next` is the firm to go on after, null at the end.
    """

    run_id: str
    state: RunState
    period: str
    dry_run: bool
    cut: CutAnswer
    firm_count: int
    done_count: int
    firms: tuple[RunFirm, ...]
    next: str | None


# Invoices


@dataclass(frozen=True, slots=True)
class InvoiceAnswer:
    """An invoice; it has a number and a hash once it is issued."""

    invoice_id: str
    firm_id: str
    period: str
    state: State
    number: str | None
    total: Money
    run_id: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class InvoicesAnswer:
    """Invoices, the newest month first; `next` is the next page's cursor."""

    invoices: tuple[InvoiceAnswer, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class RefusedFirm:
    """A firm that an issue step could not take, and why."""

    firm_id: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class IssuedAnswer:
    """What issuing a run has issued, the firms that it settled without a document or refused.

    `next` is the firm to go on after, null at the end.
    """

    issued: tuple[InvoiceAnswer, ...]
    settled_without_document: tuple[str, ...]
    refused: tuple[RefusedFirm, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class ReplayAnswer:
    """Some firms of a run decided again; `next` is the firm to go on after, null at the end."""

    run_id: str
    firms: tuple[Replay, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class BilledFirm:
    """The firm as the document names it."""

    firm_id: str
    country: str
    timezone: str


@dataclass(frozen=True, slots=True)
class IncrementAnswer:
    """How each entry's seconds are rounded; 0 minutes: not at all."""

    minutes: int
    direction: Direction
    per: Literal["entry"]


@dataclass(frozen=True, slots=True)
class BilledSums:
    """Seconds, hours and the amount in the document's currency."""

    seconds: int
    rounded_seconds: int
    hours: str
    amount: str


@dataclass(frozen=True, slots=True)
class BilledEntry:
    """An entry frozen in a line."""

    entry_id: str
    version: str
    service_date: date
    seconds: int
    rounded_seconds: int


@dataclass(frozen=True, slots=True)
class BilledHead(BilledSums):
    """A line of a document without its entries; `old`, `new`, `original`: of an adjustment."""

    line_number: int
    kind: LineKind
    service_month: str
    placement_id: str
    assistant_id: str
    role: str
    country: str
    rate: str
    rate_version: str
    terms_id: str
    terms_version: int
    increment: IncrementAnswer
    old: BilledSums | None = None
    new: BilledSums | None = None
    original: OriginAnswer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledLine(BilledHead):
    """A line of a document."""

    entries: tuple[BilledEntry, ...]


@dataclass(frozen=True, slots=True)
class DraftDocument:
    """What an approver approves."""

    form: Literal["turnsheet.invoice.v1"]
    kind: Literal["invoice"]
    firm: BilledFirm
    period: str
    currency: str
    lines: tuple[BilledLine, ...]
    total: str


@dataclass(frozen=True, slots=True)
class IssuedDocument(DraftDocument):
    """An issued document: numbered, dated, chained to the one before it in its series."""

    number: str
    invoice_date: date
    series: str
    content_sha256: str
    predecessor: str | None


@dataclass(frozen=True, slots=True)
class InvoiceWithDocument(InvoiceAnswer):
    """An invoice with its document."""

    document: DraftDocument | IssuedDocument


@dataclass(frozen=True, slots=True)
class FactAnswer:
    """An event behind an entry, and where it lies in the log."""

    type: str
    source: str
    id: str
    time: datetime
    received_at: datetime
    principal: str
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class ExplainedEntry(BilledEntry):
    """An entry of a line, with the events that it was made of."""

    facts: tuple[FactAnswer, ...]


@dataclass(frozen=True, slots=True)
class ExplanationAnswer:
    """A line added up again; `steps` tell the arithmetic in words."""

    number: str
    line_number: int
    line: BilledHead
    steps: tuple[str, ...]
    old_proved: bool
    entries: tuple[ExplainedEntry, ...]
