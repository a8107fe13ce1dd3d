"""The values of billing: what a month run reads about one firm, and what it decides from it.

The shell gathers a `FirmBooks` inside the run's cut; pure rooms decide; the shell writes what they
decided. The doors between the two:

    plain.sift(books, outlines, unsure) -> Sifted      which entries have to be read and judged
    drafts.draft(books, sifted) -> Draft               the one code path of run, dry run and replay
    drafts.issued_digest(books.issued) -> str          the recheck before an issue
    overlaps.spans(entries, placements, zone)          another firm's work as `other_spans`,
    overlaps.days(entries)                             and as `other_days`
    reports.report(draft) -> dict                      the row of the run report, ready for JSON
    invoices.content(draft) -> bytes                   what an approver approves; store these bytes
    invoices.document(content, number=, invoice_date=, series=, predecessor=) -> Document
    invoices.read_document(body) -> Document | Mismatch   verifies its hash
    invoices.issued_lines(document) -> tuple[IssuedLine, ...]
    invoices.invoice_csv(document) -> bytes
    invoices.verify_chain(documents) -> tuple[Break, ...]
    explain.explain(document, line_number, earlier=()) -> Explanation | Mismatch

Durations are whole seconds, money is whole minor units (cents) of the firm's currency, rates are
ten-thousandths an hour.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal, NamedTuple

from schemas.directory import Firm, Placement
from schemas.entries import Entry
from schemas.periods import Month
from schemas.segments import Segment

ANY = "*"  # in a rate: applies to every firm, placement, country, role or phase

Direction = Literal["up", "nearest", "down"]
Approval = Literal["required", "none"]
LineKind = Literal["regular", "adjustment"]
Outcome = Literal["document", "nothing_due", "carried"]
Reason = Literal[
    "pending_change",
    "failed",
    "unknown_placement",
    "id_reused",
    "other_placement",
    "other_source",
    "outside_placement",
    "overlap",
    "runaway",
    "daily_cap",
    "unrated",
    "disputed",
    "unapproved",
    "awaiting_issue",
]


@dataclass(frozen=True, slots=True)
class Rate:
    """A version of one rate: a row of the card in force, valid on [valid_from, valid_to)."""

    rate_id: str  # names this version for ever; it is part of a line's key
    currency: str
    rate_e4: int
    valid_from: date
    valid_to: date | None = None
    firm_id: str = ANY
    placement_id: str = ANY
    country: str = ANY
    role: str = ANY
    phase: str = ANY


@dataclass(frozen=True, slots=True)
class Increment:
    """How due seconds are rounded, on each entry inside one line key; 0 minutes: not at all."""

    minutes: int = 0
    direction: Direction = "up"


@dataclass(frozen=True, slots=True)
class Terms:
    """A version of a firm's billing terms, in force from a month's start."""

    terms_id: str
    version: int
    effective_month: Month
    approval: Approval = "required"
    increment: Increment = Increment()
    excluded_kinds: frozenset[str] = frozenset()
    excluded_phases: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reference:
    """What prices a month: today's, or as pinned by the run of the month's first issue step.

    `card` holds the rates in force at that moment (superseded ones left out), `placements` the
    firm's placements by id, `terms` all versions that the firm had.
    """

    card: tuple[Rate, ...]
    placements: Mapping[str, Placement]
    terms: tuple[Terms, ...]


@dataclass(frozen=True, slots=True)
class RunCut:
    """The run, and the instant after which nothing counts."""

    run_id: str
    instant: datetime


@dataclass(frozen=True, slots=True)
class BookEntry:
    """One entry of the firm as the cut shows it.

    `entry` None: nothing of it stands (wholly retracted), or its fold failed. `segments` are those
    of `schemas.segments.split` with today's directory.
    """

    entry_id: str
    entry: Entry | None
    segments: tuple[Segment, ...] = ()
    failed: bool = False
    id_reused: bool = False

    @property
    def other_placement(self) -> bool:
        """Say whether an event of the entry names another placement: whose hours these are."""
        anomalies = self.entry.anomalies if self.entry else ()
        return any(anomaly.code == "other_placement" for anomaly in anomalies)

    @property
    def in_question(self) -> bool:
        """Say whether nothing of the entry is sure enough to be billed, or taken back."""
        return self.failed or self.id_reused or self.other_placement


@dataclass(frozen=True, slots=True)
class OtherSpan:
    """An interval that an assistant of the firm worked for another firm; None: still running."""

    assistant_id: str
    started_at: datetime
    ended_at: datetime | None


class Row(NamedTuple):
    """A line's evidence: seconds of one entry version on one date; an adjustment's are signed."""

    entry_id: str
    version: str
    service_date: date
    seconds: int
    rounded_seconds: int


class LineKey(NamedTuple):
    """What one story of billing is told under; the firm is that of the books."""

    service_month: Month
    placement_id: str
    rate_id: str


class Sums(NamedTuple):
    """A key's whole at one moment; `amount_minor` is its rounded amount."""

    seconds: int = 0
    rounded_seconds: int = 0
    amount_minor: int = 0


class Origin(NamedTuple):
    """A line of an issued document."""

    number: str
    line_number: int


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a line was priced with; once issued it stays with the key."""

    assistant_id: str
    role: str  # several joined by "+" where one rate covers them
    country: str
    currency: str
    rate_e4: int
    terms_id: str
    terms_version: int
    increment: Increment


@dataclass(frozen=True, slots=True)
class Line:
    """What is due under a key less what is issued under it: `new` less `old`.

    A regular line, in the key's own month, has nothing old. `rows` add up to the difference.
    """

    kind: LineKind
    key: LineKey
    stamp: Stamp
    old: Sums
    new: Sums
    rows: tuple[Row, ...]
    original: Origin | None = None

    @property
    def difference(self) -> Sums:
        """What this line carries."""
        return Sums(*(new - old for new, old in zip(self.new, self.old, strict=True)))


@dataclass(frozen=True, slots=True)
class IssuedLine:
    """A line of an issued, unvoided document of the firm; `period` is the document's."""

    period: Month
    origin: Origin
    line: Line


@dataclass(frozen=True, slots=True)
class FirmBooks:
    """Everything about one firm inside a run's cut.

    entries      every entry of the firm, also void, open, failed and wholly retracted ones, or
                 those that are to be judged: one that is missing raises `EntryMissingError`
    approvals    (entry_id, version) pairs given up to the run's instant
    issued       lines of all unvoided documents of the firm
    settled      by settled month, what its first issue step pinned
    other_spans  intervals of the firm's assistants at other firms (their own sources only)
    other_days   seconds of the firm's assistants at other firms by (assistant, service date)
    """

    firm: Firm
    period: Month
    run: RunCut
    today: Reference
    entries: tuple[BookEntry, ...]
    approvals: frozenset[tuple[str, str]] = frozenset()
    issued: tuple[IssuedLine, ...] = ()
    settled: Mapping[Month, Reference] = field(default_factory=dict)
    other_spans: tuple[OtherSpan, ...] = ()
    other_days: Mapping[tuple[str, date], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """Seconds that are not billed now, and why; a pending change is signed and has no date."""

    reason: Reason
    service_month: Month
    service_date: date | None
    entry_id: str
    version: str | None
    placement_id: str | None
    assistant_id: str | None
    seconds: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a service month's worked seconds went, raw.

    `rounding` is what increments add to the billed seconds; it stands beside the sum.
    """

    service_month: Month
    worked: int
    billed: int
    held: Mapping[Reason, int]
    non_billable: int
    written_off: int
    rounding: int

    @property
    def unexplained(self) -> int:
        """What no other column explains: 0, or our books are wrong."""
        explained = self.billed + sum(self.held.values()) + self.non_billable + self.written_off
        return self.worked - explained


class OpenTimer(NamedTuple):
    """A timer without its other end: no seconds yet. `runaway`: started more than 16 h ago."""

    entry_id: str
    placement_id: str
    started_at: datetime | None
    runaway: bool


class Notice(NamedTuple):
    """Something that finance should look at; it stops nothing."""

    code: str
    entry_id: str
    detail: str


class Blocked(NamedTuple):
    """Why a draft, or a no-document row, cannot be approved."""

    code: Literal[
        "period_settled",
        "period_before_first",
        "month_order",
        "currency_mismatch",
        "rate_ambiguous",
        "unrated",
        "draft_failed",
    ]
    detail: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What a run decided about one firm and period.

    outcome  `document`: there are lines and their sum is not negative; `carried`: it is, and stays
             due until a later month; `nothing_due`: no lines
    buckets  as the books stand: what the draft would bill is held as awaiting_issue
    buckets_if_issued  the same after this draft's issue step: equal when it issues no document
    """

    firm: Firm
    period: Month
    run: RunCut
    outcome: Outcome
    lines: tuple[Line, ...]
    total_minor: int
    held: tuple[Held, ...]
    buckets: tuple[Bucket, ...]
    buckets_if_issued: tuple[Bucket, ...]
    open_timers: tuple[OpenTimer, ...]
    notices: tuple[Notice, ...]
    blocked: tuple[Blocked, ...]
    issued_digest: str


@dataclass(frozen=True, slots=True)
class Document:
    """An issued document: `body` is canonical JSON, and all there is.

    `content_sha256` covers the content without number and predecessor; `sha256` the whole body:
    the next document of the series names it as its predecessor.
    """

    number: str
    series: str
    predecessor: str | None
    content_sha256: str
    sha256: str
    body: bytes


class Explanation(NamedTuple):
    """A line added up again from its frozen entries; `steps` tell the arithmetic in words.

    `old_proved`: the lines before it were at hand, and add up to what the line calls old (a line
    without anything old proves that by itself).
    """

    issued: IssuedLine
    steps: tuple[str, ...]
    old_proved: bool


class Mismatch(NamedTuple):
    """A document, or a line of it, that does not add up; `code` says where."""

    code: Literal[
        "unknown_line",
        "not_canonical",
        "content_hash",
        "seconds",
        "rounded_seconds",
        "rounding",
        "old_amount",
        "new_amount",
        "amount",
        "hours",
        "old_lines",
        "total",
    ]
    detail: str


class EntryMissingError(LookupError):
    """An entry that is billed was not gathered: going on would credit it by mistake."""


class UnbalancedError(ArithmeticError):
    """Our own books do not add up: nothing may be drafted from them."""
