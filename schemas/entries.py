"""The fold of a time entry, shared by metrics and billing: hours agree because there is one rule."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Literal, NamedTuple

from schemas.canonical import canonical_hash
from schemas.events import (
    EntryData,
    TaskType,
    TimeAmended,
    TimerMoved,
    TimeRecorded,
    TimeVoided,
    WorkKind,
)
from schemas.facts import Cut, Fact
from schemas.instants import instant_text, whole_second
from schemas.order import Anomaly, standing

STARTED = "turnsheet.timer.started.v1"
Status = Literal["open", "closed", "void"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A time entry as its highest revision says; instants are whole seconds in UTC.

    status            `closed`: it has seconds, by an interval or by `work_date` with
                      `duration_seconds`; `open`: one end of a timer is missing; `void`: taken
                      back. An open or void entry has no seconds, a void one no content either
    source            that of the version's last fact
    version           sha256, in hex, of this state; `last_received_at` and anomalies are not in it
    last_received_at  when the last of the version's facts was received first
    anomalies         those of `order.standing`; `revision_conflict` (other content of a revision),
                      `revision_overruled` (a timer pair beside a recording), `other_placement`
                      (names another placement, not applied), `ends_before_start` (zero seconds)
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


def fold_entry(facts: Iterable[Fact], cut: Cut | None = None) -> Entry | None:
    """Fold all facts of one entry, in whatever order they come. None when nothing of it stands.

    A timer pair and a recording are revision 0, the recording before the pair; an amendment and a
    void have their own; the highest applies. An entry stays with the placement that its lowest
    revision names; what names another one is not applied.
    """
    raise NotImplementedError
