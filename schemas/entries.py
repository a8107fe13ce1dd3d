"""The fold of a time entry, shared by metrics and billing: hours agree where the rule is one."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from hashlib import sha256
from operator import attrgetter
from typing import Literal

from schemas.canonical import plain_canonical_json
from schemas.events import EntryData, TimeAmended, TimeRecorded, TimerMoved, TimeVoided
from schemas.facts import Cut, Fact
from schemas.fields import TaskType, WorkKind
from schemas.instants import instant_text, whole_second
from schemas.order import Anomaly, order_key, reception_key, standing

STARTED = "turnsheet.timer.started.v1"
STOPPED = "turnsheet.timer.stopped.v1"
Status = Literal["open", "closed", "void"]
Content = tuple[Fact, ...]  # one recording, amendment or void, or a timer's one or two ends


@dataclass(frozen=True, slots=True)
class Entry:
    """A time entry as its highest revision says; instants are whole seconds in UTC.

    status            `closed`: it has seconds, by an interval or by `work_date` with
                      `duration_seconds`; `open`: one end of a timer is missing; `void`: taken
                      back. An open or void entry has no seconds, a void one no content either
    duration_seconds  also of an interval; 0 when it ends before it starts
    source            that of the version's last fact
    version           sha256, in hex, of this state; `last_received_at` and anomalies are not in it
    last_received_at  when the last of the version's facts was received first
    anomalies         those of `order.standing`; `revision_conflict` (other content of a revision),
                      `revision_overruled` (a timer beside a recording), `other_placement` (names
                      another placement: not applied), `ends_before_start`
    """

    firm_id: str
    entry_id: str
    placement_id: str
    status: Status
    revision: int
    started_at: datetime | None
    ended_at: datetime | None
    work_date: date | None
    duration_seconds: int | None
    task_id: str | None
    task_type: TaskType | None
    matter_ref: str | None
    note_ref: str | None
    activity_code: str | None
    task_code: str | None
    kind: WorkKind | None
    billable: bool | None
    source: str
    version: str
    last_received_at: datetime
    anomalies: tuple[Anomaly, ...]


VERSIONED = tuple(
    field.name
    for field in fields(Entry)
    if field.name not in {"version", "last_received_at", "anomalies"}
)
_versioned_values = attrgetter(*VERSIONED)


def fold_entry(facts: Iterable[Fact], cut: Cut | None = None) -> Entry | None:
    """Fold all facts of one entry, in whatever order they come. None when nothing of it stands.

    A timer and a recording are revision 0, the recording before the timer; an amendment and a void
    name their own; the highest applies. An entry stays with the placement that its lowest revision
    named first; what names another one is not applied.
    """
    stood = standing(facts, cut)
    if not stood.facts:
        return None
    placement_id = _placement(stood.facts)
    own, others = [], set()
    for fact in stood.facts:
        if _data(fact).placement_id == placement_id:
            own.append(fact)
        else:
            others.add(_anomaly("other_placement", fact))
    contents, anomalies = _contents(own)
    revision = max(contents)
    content = contents[revision][0]
    entry = _entry(revision, content)
    anomalies.update(stood.anomalies, others, _oddities(contents))
    if entry.started_at and entry.ended_at and entry.ended_at < entry.started_at:
        anomalies.add(_anomaly("ends_before_start", content[-1]))
    return replace(entry, version=_version(entry), anomalies=tuple(sorted(anomalies)))


def _placement(facts: Iterable[Fact]) -> str:
    """Return the placement that the lowest revision names in what was received first of it.

    Not in what claims the latest time: else whoever learns an entry's id could take it over.
    """
    first = min(facts, key=lambda fact: (_revision(fact), *reception_key(fact)))
    return _data(first).placement_id


def _revision(fact: Fact) -> int:
    """Return the revision that a fact belongs to. Raises TypeError for one of no entry."""
    match fact.data:
        case TimeAmended(revision=revision) | TimeVoided(revision=revision):
            return revision
        case TimerMoved() | TimeRecorded():
            return 0
    raise TypeError(f"{fact.type} is no event of an entry")


def _data(fact: Fact) -> EntryData:
    assert isinstance(fact.data, EntryData)
    return fact.data


def _contents(facts: Sequence[Fact]) -> tuple[dict[int, list[Content]], set[Anomaly]]:
    """Sort facts into the contents of each revision, the one that counts first."""
    ends: dict[str, list[Fact]] = {STARTED: [], STOPPED: []}
    revisions: dict[int, list[Content]] = defaultdict(list)
    for fact in sorted(facts, key=_latest, reverse=True):
        if isinstance(fact.data, TimerMoved):
            ends[fact.type].append(fact)
        else:
            revisions[_revision(fact)].append((fact,))
    pair = sorted((found[0] for found in ends.values() if found), key=order_key)
    if pair:
        revisions[0].append(tuple(pair))
    repeated = {
        _anomaly("revision_conflict", fact)
        for found in ends.values()
        for fact in found[1:]
        if fact.content_hash != found[0].content_hash
    }
    return dict(revisions), repeated


def _latest(fact: Fact) -> tuple[datetime, bytes, str, str]:
    """Of several contents of one revision the greatest by this counts."""
    return fact.time, fact.content_hash, fact.source, fact.id


def _names(content: Content) -> EntryData:
    """Return the data whose fields count: a timer's stop before its start."""
    return _data(next((fact for fact in content if fact.type == STOPPED), content[-1]))


def _entry(revision: int, content: Content) -> Entry:
    """Make the entry that a content says, still without version and anomalies."""
    data = _names(content)
    last = content[-1]
    started_at, ended_at, work_date, seconds = _times(content)
    said = data if isinstance(data, TimeRecorded | TimerMoved) else None
    recorded = data if isinstance(data, TimeRecorded) else None
    status: Status = "open" if seconds is None else "closed"
    return Entry(
        firm_id=data.firm_id,
        entry_id=data.entry_id,
        placement_id=data.placement_id,
        status=status if said else "void",
        revision=revision,
        started_at=started_at,
        ended_at=ended_at,
        work_date=work_date,
        duration_seconds=seconds,
        task_id=said.task_id if said else None,
        task_type=said.task_type if said else None,
        matter_ref=said.matter_ref if said else None,
        note_ref=said.note_ref if said else None,
        activity_code=recorded.activity_code if recorded else None,
        task_code=recorded.task_code if recorded else None,
        kind=_kind(data),
        billable=said.billable if said else None,
        source=last.source,
        version="",
        last_received_at=max(fact.received_at for fact in content),
        anomalies=(),
    )


def _kind(data: EntryData) -> WorkKind | None:
    """A timer measures work; a void says nothing."""
    if isinstance(data, TimeRecorded):
        return data.kind
    return "work" if isinstance(data, TimerMoved) else None


def _times(
    content: Content,
) -> tuple[datetime | None, datetime | None, date | None, int | None]:
    """Return start, end, work date and seconds, as far as a content gives them."""
    data = _names(content)
    if isinstance(data, TimeVoided):
        return None, None, None, None
    if isinstance(data, TimeRecorded):
        if data.work_date is not None:
            return None, None, data.work_date, data.duration_seconds
        started_at, ended_at = data.started_at, data.ended_at
    else:
        times = {fact.type: fact.time for fact in content}
        started_at, ended_at = times.get(STARTED), times.get(STOPPED)
    start = started_at and whole_second(started_at)
    end = ended_at and whole_second(ended_at)
    if start is None or end is None:
        return start, end, None, None
    return start, end, None, max(0, int((end - start).total_seconds()))


def _oddities(contents: Mapping[int, Sequence[Content]]) -> set[Anomaly]:
    """Name the contents that do not count beside another of their revision, with the reason."""
    found: set[Anomaly] = set()
    for counting, *rivals in contents.values():
        for rival in rivals:
            if isinstance(rival[0].data, TimerMoved):
                found.update(_anomaly("revision_overruled", fact) for fact in rival)
            elif rival[0].content_hash != counting[0].content_hash:
                found.add(_anomaly("revision_conflict", rival[0]))
    return found


def _anomaly(code: str, fact: Fact) -> Anomaly:
    return Anomaly(code, fact.source, fact.id)


def _version(entry: Entry) -> str:
    """Hash what approvals name: every field but those that say nothing about the work itself."""
    state = dict(zip(VERSIONED, map(_plain, _versioned_values(entry)), strict=True))
    return sha256(plain_canonical_json(state)).hexdigest()


def _plain(value: str | int | date | None) -> str | int | None:
    if isinstance(value, datetime):
        return instant_text(value)
    return value.isoformat() if isinstance(value, date) else value
