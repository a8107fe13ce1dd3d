"""Imports: from a tool's export to events, and which of them an earlier import already brought."""

import hmac
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from schemas.canonical import canonical_hash, canonical_json
from schemas.envelope import Unreadable, content_hash, read_event
from services.ingest import clockify, toggl
from services.ingest.admission import Sender, judge
from services.ingest.intake import Taken
from services.ingest.mapping import Given, Rules, apply_rules
from services.ingest.rows import Cells, FileRefused, RowRefused, Stint, at_zone, read_table

Format = Literal["toggl", "clockify"]
Reader = Callable[[int, Cells], Stint | RowRefused]
FORMATS: dict[Format, tuple[tuple[str, ...], Reader]] = {
    "toggl": (toggl.REQUIRED, toggl.read_stint),
    "clockify": (clockify.REQUIRED, clockify.read_stint),
}
TYPE = "turnsheet.time.recorded.v1"
WORDS_OF_TIME = {
    "ambiguous_time": "this local time came twice that day: the row does not say which",
    "skipped_time": "this local time did not exist that day: is the time zone right?",
    "year_range": "give a year from 1970 to 2199",
}
ROWS_MAX = 30_000  # read and planned in half of the time that an answer has
TRIALS_MAX = 10_000_000  # of a rule on a row's words: half a microsecond each


@dataclass(frozen=True, slots=True)
class Planned:
    """A row that became an event: whose day it is of, and what tells it from all other rows.

    `person` and `row_id` are keyed hashes, so that neither can be found out by trying names.
    """

    line: int
    person: str
    day: date
    day_hash: bytes
    row_id: str
    content_hash: bytes
    event: Taken

    @property
    def firm_id(self) -> str:
        """The firm that the rules give."""
        return self.event.entity.firm_id


class Plan(NamedTuple):
    """What a file says: rows that became events, rows refused, and how many there are in all."""

    planned: list[Planned]
    refused: list[RowRefused]
    row_count: int


class KnownRow(NamedTuple):
    """A row as an earlier import left it; `is_sent`: it is known to be on the log."""

    firm_id: str
    content_hash: bytes
    is_sent: bool


class Decision(NamedTuple):
    """What becomes of planned rows."""

    fresh: list[Planned]
    unsent: list[Planned]
    known: list[Planned]
    refused: list[RowRefused]


def read_stints(raw: bytes, form: Format) -> list[Stint | RowRefused]:
    """Read a file's rows. Raises FileRefused for one that cannot be taken at all.

    One with too many is read no further: a row takes many times the memory of its line.
    """
    required, read_stint = FORMATS[form]
    rows: list[Stint | RowRefused] = []
    for row in read_table(raw, required):
        if len(rows) == ROWS_MAX:
            detail = f"a file has at most {ROWS_MAX} rows: send it in parts"
            raise FileRefused("too_many_rows", detail)
        rows.append(row if isinstance(row, RowRefused) else read_stint(*row))
    return rows


def plan(
    raw: bytes, form: Format, zone: ZoneInfo, rules: Rules, key: bytes, firm_id: str | None = None
) -> Plan:
    """Make an event of each row that can be one.

    `key` is secret and never changes; `firm_id` is the firm of rows for which no rule names one.
    Raises FileRefused.
    """
    rows = read_stints(raw, form)
    stints = [row for row in rows if isinstance(row, Stint)]
    refused = [row for row in rows if isinstance(row, RowRefused)]
    row_ids = _name_rows(stints, form, key)
    day_hashes = _hash_days(stints, row_ids)
    given_of: dict[tuple[object, ...], Given] = {}
    planned: list[Planned] = []
    for stint, row_id in zip(stints, row_ids, strict=True):
        words = (stint.user, stint.email, stint.client, stint.project, stint.task, stint.tags)
        given = given_of.get(words)
        if given is None:
            if len(given_of) * len(rules.rule) > TRIALS_MAX:
                raise FileRefused("too_many_rules", "so many rules take too long for this file")
            given = given_of[words] = apply_rules(rules, stint, firm_id)
        event = _make_event(stint, given, form, zone, row_id)
        if isinstance(event, RowRefused):
            refused.append(event)
            continue
        day = stint.started.date()
        planned.append(
            Planned(
                line=stint.line,
                person=_keyed(key, "person", stint.person),
                day=day,
                day_hash=day_hashes[stint.person, day],
                row_id=row_id,
                content_hash=content_hash(event.raw),
                event=event,
            )
        )
    return Plan(planned, refused, len(rows))


def _name_rows(stints: Sequence[Stint], form: Format, key: bytes) -> list[str]:
    """Name each row by what it says and by how many equal ones came before it."""
    names: list[str] = []
    seen: Counter[str] = Counter()
    for stint in stints:
        said = [
            form,
            stint.person,
            stint.client,
            stint.project,
            stint.task,
            list(stint.tags),
            stint.billable,
            stint.started.isoformat(),
            stint.ended.isoformat(),
        ]
        name = _keyed(key, "row", said)
        names.append(_keyed(key, "occurrence", [name, seen[name]]))
        seen[name] += 1
    return names


def _hash_days(stints: Sequence[Stint], row_ids: Sequence[str]) -> dict[tuple[str, date], bytes]:
    """Hash all that a file says of a person's day, in whatever order."""
    days: dict[tuple[str, date], list[str]] = {}
    for stint, row_id in zip(stints, row_ids, strict=True):
        days.setdefault((stint.person, stint.started.date()), []).append(row_id)
    return {day: canonical_hash(sorted(names)) for day, names in days.items()}


def _keyed(key: bytes, purpose: str, said: object) -> str:
    return hmac.digest(key, canonical_json([purpose, said]), "sha256").hex()[:32]


def _make_event(
    stint: Stint, given: Given, form: Format, zone: ZoneInfo, row_id: str
) -> Taken | RowRefused:
    if given.missing:
        return RowRefused(stint.line, "unmapped", f"no rule gives {', '.join(given.missing)}")
    started, ended = at_zone(stint.started, zone), at_zone(stint.ended, zone)
    for moment in (started, ended):
        if isinstance(moment, str):
            return RowRefused(stint.line, moment, WORDS_OF_TIME[moment])
    assert isinstance(started, datetime)
    assert isinstance(ended, datetime)
    if ended < started:
        return RowRefused(stint.line, "ends_before_start", "the row ends before it starts")
    billable = given.billable if given.billable is not None else stint.billable is not False
    name = f"{form}:{row_id}"
    data = {
        "firm_id": given.firm_id,
        "placement_id": given.placement_id,
        "entry_id": name,
        "started_at": started.isoformat(),
        "ended_at": ended.isoformat(),
        "task_type": given.task_type,
        "kind": given.kind or "work",
        "billable": billable,
    } | ({"matter_ref": given.matter_ref} if given.matter_ref else {})
    return _read(stint.line, _write(name, f"import/{form}", ended, data))


def _write(name: str, source: str, time: datetime, data: Mapping[str, Any]) -> bytes:
    envelope = {
        "specversion": "1.0",
        "id": name,
        "source": source,
        "type": TYPE,
        "time": time.isoformat(),
        "datacontenttype": "application/json",
        "data": data,
    }
    return json.dumps(envelope, separators=(",", ":")).encode()


def _read(line: int, raw: bytes) -> Taken | RowRefused:
    try:
        return Taken(line, raw, read_event(raw))
    except Unreadable as error:
        return RowRefused(line, error.refusal.code, error.refusal.detail)


def admit_rows(
    sender: Sender, given: Plan, *, now: datetime, firm_of_placement: Mapping[str, str]
) -> Plan:
    """Refuse the rows that their importer may not bring."""
    planned, refused = [], list(given.refused)
    for row in given.planned:
        denial = judge(
            sender,
            row.event.event,
            now=now,
            firm_of_placement=firm_of_placement,
            importing=True,
        )
        if denial is None:
            planned.append(row)
        else:
            refused.append(RowRefused(row.line, denial.code, denial.detail))
    return Plan(planned, refused, given.row_count)


def decide(
    planned: Iterable[Planned],
    known_days: Mapping[tuple[str, date], frozenset[bytes]],
    known_rows: Mapping[str, KnownRow],
) -> Decision:
    """Tell fresh rows from those that an earlier import brought.

    `known_days` holds what earlier files of the kind said of a person's day: a file that says
    anything else of it is refused for that day, or an hour would be counted twice.
    """
    decision = Decision([], [], [], [])
    for row in planned:
        known = known_rows.get(row.row_id)
        if known_days.get((row.person, row.day), frozenset()) - {row.day_hash}:
            detail = f"{row.day} of this person was imported before from a file with other rows"
            decision.refused.append(RowRefused(row.line, "day_already_imported", detail))
        elif known is None:
            decision.fresh.append(row)
        elif (known.firm_id, known.content_hash) != (row.firm_id, row.content_hash):
            detail = "this row was imported before with another placement, task type or zone"
            decision.refused.append(RowRefused(row.line, "imported_otherwise", detail))
        elif known.is_sent:
            decision.known.append(row)
        else:
            decision.unsent.append(row)
    return decision


def join_decisions(decisions: Sequence[Decision]) -> Decision:
    """Put the decisions of several firms' rows together."""
    return Decision(
        [row for decision in decisions for row in decision.fresh],
        [row for decision in decisions for row in decision.unsent],
        [row for decision in decisions for row in decision.known],
        [row for decision in decisions for row in decision.refused],
    )


def report_of(
    form: Format, zone: str, refused: Iterable[RowRefused], *, counts: Mapping[str, int], dry: bool
) -> dict[str, Any]:
    """Write the report of an import; `counts` holds rows, accepted and known."""
    listed = sorted(refused)
    return {
        "format": form,
        "timezone": zone,
        "dry_run": dry,
        **counts,
        "refused": len(listed),
        "refusals": [row._asdict() for row in listed],
    }
