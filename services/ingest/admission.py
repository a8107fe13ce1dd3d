"""Admission: may this sender say this, of whom it says it, under this source, at this time?"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple, Protocol

from schemas.envelope import Envelope
from schemas.events import TOPIC_OF_KIND, TYPES, EventRetracted, TimeRecorded, TimerMoved, entity_of
from schemas.fields import FirmData, PlacementData

ALL = "*"
AHEAD_MAX = timedelta(minutes=5)
AGE_MAX = timedelta(days=400)
_NEWEST = -AHEAD_MAX  # the least age
_DAY = timedelta(days=1)
_EAST, _WEST = timedelta(hours=14), timedelta(hours=12)  # how far clocks are from UTC anywhere
CODES = {
    "type_not_allowed": "a sender of this kind may not send this type",
    "scope_missing": "this token lacks the scope directory:write",
    "not_bound": "not within what this token is bound to, or not there",
    "source_not_bound": "this token may not speak for this source",
    "time_ahead": "this lies ahead of our clock: keep it, check yours, and send it again later",
    "time_too_old": "this is older than 400 days: only an import may bring it",
}


class Sender(Protocol):
    """Whoever sends; "*" in a binding stands for all."""

    @property
    def kind(self) -> str:
        """What the sender is: tracker, firm, admin and so on."""

    @property
    def scopes(self) -> Collection[str]:
        """What its token may do."""

    @property
    def firms(self) -> Collection[str]:
        """The firms that its token is bound to."""

    @property
    def placements(self) -> Collection[str]:
        """The placements that its token is bound to."""

    @property
    def sources(self) -> Collection[str]:
        """The prefixes of sources that its token is bound to."""


class Denial(NamedTuple):
    """Why an event was not taken; `retry_at` is the moment from which it will be."""

    code: str
    pointer: str
    retry_at: datetime | None = None

    @property
    def detail(self) -> str:
        """Say it in words, without the event's values."""
        return CODES[self.code]


def judge(
    sender: Sender,
    event: Envelope,
    *,
    now: datetime,
    firm_of_placement: Mapping[str, str],
    importing: bool = False,
) -> Denial | None:
    """Return the first reason to refuse an event, or None.

    `firm_of_placement` is what the directory knows of placements that events name; one that it does
    not know may still come. `importing`: the event was made from a row by the importer, for a
    sender with that scope, who need not be one of the type's own senders.
    """
    return judge_standing(
        sender, event, firm_of_placement=firm_of_placement, importing=importing
    ) or judge_time(sender, event, now)


def judge_standing(
    sender: Sender,
    event: Envelope,
    *,
    firm_of_placement: Mapping[str, str],
    importing: bool = False,
) -> Denial | None:
    """Return the first reason to refuse that lies in type, firm, placement or source, or None."""
    return (
        (None if importing else _judge_type(sender, event))
        or _judge_firm(sender, event)
        or _judge_placement(sender, event, firm_of_placement)
        or _judge_source(sender, event)
    )


def standing_key(event: Envelope) -> tuple[str, str | None, str | None, str]:
    """Return all of an event that `judge_standing` looks at: most of a request's are alike."""
    return (
        event.type,
        getattr(event.data, "firm_id", None),
        getattr(event.data, "placement_id", None),
        event.source,
    )


def _judge_type(sender: Sender, event: Envelope) -> Denial | None:
    if sender.kind not in TYPES[event.type].senders:
        return Denial("type_not_allowed", "/type")
    if _is_of_directory(event) and "directory:write" not in sender.scopes:
        return Denial("scope_missing", "/type")
    return None


def _judge_firm(sender: Sender, event: Envelope) -> Denial | None:
    if not isinstance(event.data, FirmData):  # assistants: only who sees all firms speaks of them
        return None if ALL in sender.firms else Denial("not_bound", "/data/assistant_id")
    if _holds(sender.firms, event.data.firm_id):
        return None
    return Denial("not_bound", "/data/firm_id")


def _judge_placement(
    sender: Sender, event: Envelope, firm_of_placement: Mapping[str, str]
) -> Denial | None:
    if not isinstance(event.data, PlacementData | EventRetracted):
        return None
    placement_id = event.data.placement_id
    if placement_id is None:  # a retraction that names none: for those who are bound to no few
        return None if ALL in sender.placements else Denial("not_bound", "/data/placement_id")
    if not _holds(sender.placements, placement_id):
        return Denial("not_bound", "/data/placement_id")
    owner = firm_of_placement.get(placement_id, event.data.firm_id)
    if owner == event.data.firm_id or not _may_be_told(sender, event, owner):
        return None
    return Denial("not_bound", "/data/placement_id")


def _may_be_told(sender: Sender, event: Envelope, owner: str) -> bool:
    """Say whether a refusal may tell a sender that a placement is of the firm `owner`.

    Whoever may name any placement could find out so which ids other firms have: what they say is
    taken, as of a placement that nobody knows. But the directory must have each id once.
    """
    if _holds(sender.firms, owner) or ALL not in sender.placements:
        return True
    return _is_of_directory(event)


def _judge_source(sender: Sender, event: Envelope) -> Denial | None:
    if any(is_under(event.source, prefix) for prefix in sender.sources):
        return None
    return Denial("source_not_bound", "/source")


def judge_time(sender: Sender, event: Envelope, now: datetime) -> Denial | None:
    """Refuse what lies too far ahead of our clock, or too far back, or tells of work that does."""
    for pointer, age, least in _ages(event, now):
        if age < _NEWEST:
            return Denial("time_ahead", pointer, now - age - AHEAD_MAX)
        if least > AGE_MAX and not _may_be_old(sender, event):
            return Denial("time_too_old", pointer)
    return None


def _may_be_old(sender: Sender, event: Envelope) -> bool:
    # A timer's two ends come apart, so that its age is the only bound on how long it ran.
    return "import" in sender.scopes and not isinstance(event.data, TimerMoved)


def _ages(event: Envelope, now: datetime) -> Iterator[tuple[str, timedelta, timedelta]]:
    """Yield how old each time of an event is, with its place; a date, from its start and end."""
    data, age = event.data, now - event.time
    yield "/time", age, age
    if not isinstance(data, TimeRecorded):
        return
    if data.started_at is not None:
        age = now - data.started_at
        yield "/data/started_at", age, age
    if data.ended_at is not None:
        age = now - data.ended_at
        yield "/data/ended_at", age, age
    if data.work_date is not None:  # of whatever zone
        age = now - datetime.combine(data.work_date, time(), UTC)
        yield "/data/work_date", age + _EAST, age - _DAY - _WEST


def is_under(source: str, prefix: str) -> bool:
    """Say whether a source lies under a prefix: tracker/a holds tracker/a/x, not tracker/ab."""
    if prefix == ALL:
        return True
    return source == prefix or source.startswith(prefix.removesuffix("/") + "/")


def _is_of_directory(event: Envelope) -> bool:
    return TOPIC_OF_KIND[entity_of(event.type, event.data).kind] == "directory"


def _holds(bound: Collection[str], name: str) -> bool:
    return ALL in bound or name in bound
