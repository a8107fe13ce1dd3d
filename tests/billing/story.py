"""A firm's months told event by event: what the shell gathers, built by hand around pure rooms."""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from schemas.canonical import canonical_hash
from schemas.directory import Directory, Firm, Placement, Timeline
from schemas.directory_events import Shift
from schemas.entries import fold_entry
from schemas.events import TYPES as EVENT_TYPES
from schemas.events import EntityKey
from schemas.facts import Fact, Position
from schemas.money import amount_text, minor_digits, parse_rate
from schemas.periods import Month
from schemas.segments import split
from services.billing.books import (
    BookEntry,
    Document,
    Draft,
    FirmBooks,
    Increment,
    OtherSpan,
    Rate,
    Reference,
    RunCut,
    Terms,
)
from services.billing.drafts import draft
from services.billing.invoices import content, document, issued_lines

NEW_YORK = "America/New_York"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
TRACKER = "tracker/a-1/phone"
SHIFT = Shift(zone="Asia/Manila", slots=[])


def at(text: str) -> datetime:
    """An instant with its offset."""
    instant = datetime.fromisoformat(text)
    assert instant.tzinfo is not None
    return instant


def month(text: str) -> Month:
    return Month.parse(text)


def timeline(first, *changes):
    """A value, and (date, value) pairs that follow it."""
    return Timeline(((date.min, first), *((date.fromisoformat(day), v) for day, v in changes)))


def a_firm(zone=NEW_YORK, currency="USD", firm_id="firm-1"):
    return Firm(firm_id, zone, currency, timeline("US"), timeline(None), timeline(None), ())


def a_placement(placement_id="p-1", assistant_id="a-1", country="PH", **changes):
    placement = Placement(
        firm_id="firm-1",
        placement_id=placement_id,
        assistant_id=assistant_id,
        started_at=LONG_AGO,
        ended_at=None,
        coverage="overlap",
        supervising_attorney_id="att-1",
        allowed_task_types=None,
        roles=timeline("legal_assistant"),
        countries=timeline(country),
        phases=timeline("active"),
        shifts=timeline(SHIFT),
        sources=timeline(None),
        absences=(),
        anomalies=(),
    )
    return replace(placement, **changes)


def a_rate(rate_id, text, country="*", role="legal_assistant", **changes):
    made = Rate(
        rate_id=rate_id,
        currency="USD",
        rate_e4=parse_rate(text),
        valid_from=date(2020, 1, 1),
        country=country,
        role=role,
    )
    return replace(made, **changes)


def terms(approval="none", minutes=0, direction="up", **changes):
    made = Terms("terms-1", 1, Month(2020, 1), approval, Increment(minutes, direction))
    return replace(made, **changes)


@dataclass
class Story:
    """One firm, its facts and decisions so far; `settle` is an issue step."""

    firm: Firm = field(default_factory=a_firm)
    placements: dict[str, Placement] = field(default_factory=lambda: {"p-1": a_placement()})
    card: tuple[Rate, ...] = (a_rate("r-1", "15.00"),)
    terms: tuple[Terms, ...] = (terms(),)
    approvals: set[tuple[str, str]] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    id_reused: set[str] = field(default_factory=set)
    instant: datetime = datetime(2027, 1, 1, tzinfo=UTC)
    other_spans: tuple[OtherSpan, ...] = ()
    other_days: dict[tuple[str, date], int] = field(default_factory=dict)
    facts: dict[str, list[Fact]] = field(default_factory=dict)
    documents: list[Document] = field(default_factory=list)
    settled: dict[Month, Reference] = field(default_factory=dict)

    def tell(self, name, entry_id, time, *, fact_id=None, source=TRACKER, **data):
        """Send one event of an entry; `fact_id` names it, to be sent again or retracted."""
        known = {"firm_id": self.firm.firm_id, "placement_id": "p-1", "entry_id": entry_id, **data}
        model = EVENT_TYPES[name].data.model_validate(known)
        facts = self.facts.setdefault(entry_id, [])
        plain = {key: str(value) for key, value in known.items()}
        facts.append(
            Fact(
                entity=EntityKey(self.firm.firm_id, "entry", entry_id),
                source=source,
                id=fact_id or f"{entry_id}-{len(facts)}",
                type=name,
                time=time,
                sequence=None,
                received_at=time + timedelta(minutes=1),
                principal="tracker:a-1",
                content_hash=canonical_hash([name, str(time), plain]),
                data=model,
                position=Position("time-events", 0, len(facts)),
            )
        )

    def record(self, entry_id, work, **data):
        """Record `start/end`, or `date minutes` of an entry without clock times."""
        times = _times(work)
        content = {"task_type": "intake", "kind": "work", "billable": True, **times, **data}
        time = times.get("ended_at") or datetime.combine(times["work_date"], LONG_AGO.timetz())
        self.tell("turnsheet.time.recorded.v1", entry_id, time, **content)

    def amend(self, entry_id, revision, work, **data):
        times = _times(work)
        content = {"task_type": "intake", "kind": "work", "billable": True, **times, **data}
        self.tell(
            "turnsheet.time.amended.v1",
            entry_id,
            datetime(2026, 12, 1, tzinfo=UTC) + timedelta(hours=revision),
            revision=revision,
            reason="corrected",
            **content,
        )

    def void(self, entry_id, revision, **data):
        time = datetime(2026, 12, 1, tzinfo=UTC) + timedelta(hours=revision)
        name = "turnsheet.time.voided.v1"
        self.tell(name, entry_id, time, revision=revision, reason="mistake", **data)

    def retract(self, entry_id, fact_id):
        fact = next(fact for fact in self.facts[entry_id] if fact.id == fact_id)
        data = {"target_source": fact.source, "target_id": fact.id, "reason": "mistake"}
        self.tell("turnsheet.event.retracted.v1", entry_id, fact.time, **data)

    def start(self, entry_id, text, **data):
        self.tell("turnsheet.timer.started.v1", entry_id, at(text), task_type="intake", **data)

    def stop(self, entry_id, text, **data):
        self.tell("turnsheet.timer.stopped.v1", entry_id, at(text), task_type="intake", **data)

    def version(self, entry_id):
        entry = fold_entry(self.facts[entry_id])
        return entry.version if entry else None

    def approve(self, *entry_ids):
        """Approve the current version of each entry."""
        self.approvals |= {(entry_id, self.version(entry_id)) for entry_id in entry_ids}

    def reference(self) -> Reference:
        return Reference(self.card, dict(self.placements), self.terms)

    def books(self, period: str) -> FirmBooks:
        return FirmBooks(
            firm=self.firm,
            period=month(period),
            run=RunCut(f"run-{period}", self.instant),
            today=self.reference(),
            entries=tuple(self._book(entry_id) for entry_id in self.facts),
            approvals=frozenset(self.approvals),
            issued=tuple(line for found in self.documents for line in issued_lines(found)),
            settled=dict(self.settled),
            other_spans=self.other_spans,
            other_days=self.other_days,
        )

    def draft(self, period: str) -> Draft:
        return draft(self.books(period))

    def settle(self, period: str) -> Document | None:
        """Take a month's issue step: a document, or the row that says there is none."""
        made = self.draft(period)
        assert made.blocked == ()
        self.settled[month(period)] = self.reference()
        return self._issued(period, made) if made.outcome == "document" else None

    def issue(self, period: str) -> Document:
        """Settle a month with a document."""
        issued = self.settle(period)
        assert issued is not None
        return issued

    def _issued(self, period: str, made: Draft) -> Document:
        number = f"INV-2026-{len(self.documents) + 1:04}"
        issued = document(
            content(made),
            number=number,
            invoice_date=month(period).end_date,
            series="INV-2026",
            predecessor=self.documents[-1].sha256 if self.documents else None,
        )
        self.documents.append(issued)
        return issued

    def _book(self, entry_id: str) -> BookEntry:
        entry = fold_entry(self.facts[entry_id])
        directory = Directory(self.firm, self.placements)
        return BookEntry(
            entry_id=entry_id,
            entry=entry,
            segments=split(entry, directory) if entry else (),
            failed=entry_id in self.failed,
            id_reused=entry_id in self.id_reused,
        )


def _times(work):
    if "/" in work:
        started_at, ended_at = (at(text) for text in work.split("/"))
        return {"started_at": started_at, "ended_at": ended_at}
    day, minutes = work.split()
    return {"work_date": date.fromisoformat(day), "duration_seconds": int(minutes) * 60}


def shown(made: Draft) -> list[str]:
    """A draft's lines, one text a line: month, placement, rate, seconds and amount."""
    digits = minor_digits(made.firm.currency)
    return [
        f"{line.key.service_month} {line.key.placement_id} {line.key.rate_id} {line.kind} "
        f"{line.difference.seconds} s {amount_text(line.difference.amount_minor, digits)}"
        for line in made.lines
    ]


def held(made: Draft) -> list[str]:
    """What a draft holds."""
    return [f"{h.service_month} {h.entry_id} {h.reason} {h.seconds}" for h in made.held]


def bucket(made: Draft, service_month: str, *, if_issued: bool = False) -> dict[str, int]:
    """One month's bucket: worked, billed, rounding and what else is not zero."""
    found = made.buckets_if_issued if if_issued else made.buckets
    one = next(b for b in found if b.service_month == month(service_month))
    told: dict[str, int] = {"worked": one.worked, "billed": one.billed}
    told.update((reason, seconds) for reason, seconds in one.held.items() if seconds)
    other = (("non_billable", one.non_billable), ("written_off", one.written_off))
    told.update((name, seconds) for name, seconds in other if seconds)
    return told
