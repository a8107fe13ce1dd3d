"""Facts made by hand and by chance: a builder, and strategies for histories of every kind."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args

from hypothesis import strategies as st

from schemas.canonical import canonical_hash
from schemas.events import TOPIC_OF_KIND, TYPES, EntityKey, entity_of
from schemas.facts import Cut, Fact, Position
from schemas.fields import Data, TaskType
from schemas.instants import instant_text
from schemas.order import Anomaly

ZONE = "America/New_York"
FIRM = "firm-1"
PLACEMENT = "plc-1"
ENTRY = "ent-1"
TASK = "task-1"
TRACKER = "tracker:asst-1"
OTHER_TRACKER = "tracker:asst-2"
ADMIN = "admin:ops"
SOURCE = "/trackers/asst-1"
TASK_TYPES = get_args(TaskType)
MONDAY_TO_FRIDAY = [{"weekday": day, "start": "09:00", "minutes": 480} for day in range(1, 6)]


def at(text: str) -> datetime:
    """Read an instant; a text without an offset is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def as_instant(when: datetime | str) -> datetime:
    return at(when) if isinstance(when, str) else when


@dataclass
class History:
    """Writes facts one after the other, as a log does: each gets the next offset of its topic.

    `history.add("time.recorded", "2026-07-01T13:00", entry_id="ent-1", …)` fills in firm and
    placement, reads the data by its model, and takes `received_at` a second after `time`.
    """

    facts: list[Fact] = field(default_factory=list)

    def add(
        self,
        noun_past: str,
        time: datetime | str,
        *,
        event_id: str | None = None,
        event_source: str = SOURCE,
        principal: str | None = None,
        sequence: int | None = None,
        received_at: datetime | str | None = None,
        partition: int = 0,
        **data: Any,
    ) -> Fact:
        type_name = f"turnsheet.{noun_past}.v1"
        model = read_data(type_name, data)
        entity = entity_of(type_name, model)
        moment = as_instant(time)
        default = ADMIN if TOPIC_OF_KIND[entity.kind] == "directory" else TRACKER
        fact = Fact(
            entity=entity,
            source=event_source,
            id=event_id or f"e{len(self.facts)}",
            type=type_name,
            time=moment,
            sequence=sequence,
            received_at=as_instant(received_at or moment + timedelta(seconds=1)),
            principal=principal or default,
            content_hash=hash_of(type_name, moment, sequence, model),
            data=model,
            position=Position(TOPIC_OF_KIND[entity.kind], partition, len(self.facts)),
        )
        self.facts.append(fact)
        return fact

    def retract(self, target: Fact, time: datetime | str, **envelope: Any) -> Fact:
        """Take a fact back; its placement is named only where the target names one."""
        kind, entity_id = target.entity.kind, target.entity.entity_id
        return self.add(
            "event.retracted",
            time,
            target_source=target.source,
            target_id=target.id,
            reason="mistake",
            placement_id=None,
            **{f"{kind}_id": entity_id, **envelope},
        )

    def of(self, entity: EntityKey) -> list[Fact]:
        return [fact for fact in self.facts if fact.entity == entity]


def read_data(type_name: str, data: dict[str, Any]) -> Data:
    """Read data by its type's model, as the door does: from JSON."""
    model = TYPES[type_name].data
    given = dict(data)
    if "firm_id" in model.model_fields:
        given.setdefault("firm_id", FIRM)
    if "placement_id" in model.model_fields:
        given.setdefault("placement_id", PLACEMENT)
    return model.model_validate_json(json.dumps(given, default=json_text))


def json_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    assert isinstance(value, date)
    return value.isoformat()


def hash_of(type_name: str, time: datetime, sequence: int | None, data: Data) -> bytes:
    """Return the content hash of an event whose sender left out what is None."""
    content = {
        "type": type_name,
        "time": instant_text(time),
        "sequence": sequence,
        "data": data.model_dump(mode="json", exclude_none=True),
    }
    return canonical_hash(without_none(content))


def recorded(**changed: Any) -> dict[str, Any]:
    """Data of a whole entry of one hour, on 1 July 2026 at nine in New York."""
    data = {
        "entry_id": ENTRY,
        "started_at": "2026-07-01T13:00:00Z",
        "ended_at": "2026-07-01T14:00:00Z",
        "task_type": "document_prep",
        "kind": "work",
        "billable": True,
    }
    return without_none({**data, **changed})


def without_none(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value is not None}


def firm_facts(history: History, timezone: str = ZONE, **changed: Any) -> Fact:
    data: dict[str, Any] = {"timezone": timezone, "country": "US", "currency": "USD", **changed}
    time = data.pop("time", "2026-01-01T00:00")
    return history.add("firm.registered", time, **data)


def placement_facts(
    history: History, started_at: str = "2026-01-01T00:00:00Z", **changed: Any
) -> Fact:
    data = {
        "assistant_id": "asst-1",
        "role": "legal_assistant",
        "country": "PH",
        "phase": "active",
        "coverage": "overnight",
        "shift": {"zone": "Asia/Manila", "slots": MONDAY_TO_FRIDAY},
        "supervising_attorney_id": "att-1",
        "started_at": started_at,
        **changed,
    }
    time = data.pop("time", "2026-01-01T00:00")
    return history.add("placement.started", time, **data)


def moved(facts: Iterable[Fact]) -> list[Fact]:
    """Give facts, in the order given, the offsets that a log would give them now."""
    return [
        replace(fact, position=fact.position._replace(offset=offset))
        for offset, fact in enumerate(facts)
    ]


def without_positions(facts: Iterable[Fact]) -> list[Fact]:
    """Facts as values of state: where they lie in the log is no part of it."""
    return [replace(fact, position=Position("", 0, 0)) for fact in facts]


def whole_log(facts: Sequence[Fact], instant: datetime | None = None) -> Cut:
    """A cut that holds all records, and events up to an instant."""
    ends: dict[tuple[str, int], int] = {}
    for fact in facts:
        topic, partition, offset = fact.position
        ends[topic, partition] = max(ends.get((topic, partition), 0), offset + 1)
    return Cut(ends, instant)


def codes(anomalies: Iterable[Anomaly]) -> list[str]:
    return [anomaly.code for anomaly in anomalies]


# -- by chance ----------------------------------------------------------------------------------

DAY_ONE = at("2026-07-01T00:00:00")
PRINCIPALS = st.sampled_from([TRACKER, OTHER_TRACKER, ADMIN])
SOURCES = st.sampled_from([SOURCE, "/connections/toggl", "/trackers/asst-2"])
PLACEMENTS = st.sampled_from([PLACEMENT, PLACEMENT, PLACEMENT, "plc-2"])
INSTANTS = st.integers(0, 40).map(lambda n: DAY_ONE + timedelta(minutes=30 * n))  # ties are likely
IDS = st.sampled_from(["a", "b", "c", "d", "e", "f"])  # so are spent ids
DATES = st.integers(0, 20).map(lambda n: date(2026, 6, 20) + timedelta(days=n))


@st.composite
def envelopes(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "event_id": draw(IDS),
        "event_source": draw(SOURCES),
        "principal": draw(PRINCIPALS),
        "sequence": draw(st.none() | st.integers(0, 2)),
        "received_at": draw(INSTANTS),
    }


@st.composite
def times_of_entry(draw: st.DrawFn) -> dict[str, Any]:
    """An interval, backwards now and then, or a duration on a date."""
    content = {
        "entry_id": ENTRY,
        "placement_id": draw(PLACEMENTS),
        "task_type": draw(st.sampled_from(TASK_TYPES[:3])),
        "kind": draw(st.sampled_from(["work", "rework"])),
        "billable": draw(st.booleans()),
    }
    if draw(st.booleans()):
        return content | {"work_date": draw(DATES), "duration_seconds": draw(st.integers(0, 9_000))}
    return content | {"started_at": draw(INSTANTS), "ended_at": draw(INSTANTS)}


@st.composite
def entry_events(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """One event of the entry: its name and data."""
    name = draw(
        st.sampled_from(
            ["timer.started", "timer.stopped", "time.recorded", "time.amended", "time.voided"]
        )
    )
    revision = {"revision": draw(st.integers(1, 3)), "reason": "correction"}
    if name == "time.voided":
        return name, {"entry_id": ENTRY, "placement_id": draw(PLACEMENTS), **revision}
    if name in {"timer.started", "timer.stopped"}:
        task_type = draw(st.sampled_from(TASK_TYPES[:2]))
        return name, {
            "entry_id": ENTRY,
            "placement_id": draw(PLACEMENTS),
            "task_type": task_type,
            "billable": draw(st.booleans()),
        }
    data = draw(times_of_entry())
    return name, data | (revision if name == "time.amended" else {})


@st.composite
def entry_histories(draw: st.DrawFn, max_events: int = 9) -> list[Fact]:
    """Facts of one entry as they may come: ids spent twice, conflicts, retractions of all kinds."""
    history = History()
    for name, data in draw(st.lists(entry_events(), min_size=1, max_size=max_events)):
        history.add(name, draw(INSTANTS), **draw(envelopes()), **data)
    return draw(with_retractions(history))


@st.composite
def with_retractions(draw: st.DrawFn, history: History) -> list[Fact]:
    """Add up to three retractions: of what is there, of what never was, by whoever it be."""
    for target in draw(st.lists(st.sampled_from(history.facts), max_size=3)):
        aimed = replace(target, id=draw(st.sampled_from([target.id, target.id, "never-sent"])))
        envelope = draw(envelopes())
        envelope["event_id"] = draw(st.sampled_from(["r1", "r2", aimed.id]))
        history.retract(aimed, draw(INSTANTS), **envelope)
    return history.facts


@st.composite
def directory_histories(draw: st.DrawFn) -> list[Fact]:
    """Facts of one firm and one placement, with rivals for the same dates and registrations."""
    history = History()
    for _ in range(draw(st.integers(0, 2))):
        zone = draw(st.sampled_from([ZONE, "America/Los_Angeles"]))
        envelope = draw(envelopes())
        firm_facts(history, zone, time=draw(INSTANTS), currency=draw(CURRENCIES), **envelope)
    for _ in range(draw(st.integers(0, 2))):
        started = draw(INSTANTS).isoformat()
        placement_facts(
            history,
            started,
            time=draw(INSTANTS),
            assistant_id=draw(st.sampled_from(["asst-1", "asst-1", "asst-2"])),
            country=draw(COUNTRIES),
            **draw(envelopes()),
        )
    for name, data in draw(st.lists(directory_changes(), max_size=8)):
        history.add(name, draw(INSTANTS), **draw(envelopes()), **data)
    return history.facts


COUNTRIES = st.sampled_from(["PH", "MX", "CO"])
CURRENCIES = st.sampled_from(["USD", "CAD"])
VALUES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "firm.changed": st.fixed_dictionaries({"country": st.sampled_from(["US", "CA"])}),
    "firm.calendar_changed": st.fixed_dictionaries(
        {"zone": st.just(ZONE), "slots": st.sampled_from([[], MONDAY_TO_FRIDAY])}
    ),
    "placement.country_changed": st.fixed_dictionaries({"country": COUNTRIES}),
    "placement.role_changed": st.fixed_dictionaries(
        {"role": st.sampled_from(["legal_assistant", "paralegal"])}
    ),
    "placement.phase_changed": st.fixed_dictionaries(
        {"phase": st.sampled_from(["trial", "shadow", "active"])}
    ),
    "placement.source_changed": st.fixed_dictionaries(
        {"source": st.sampled_from(["/trackers", "/connections/toggl", SOURCE])}
    ),
}


@st.composite
def directory_changes(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from([*VALUES, "placement.ended", "placement.absence_recorded"]))
    if name == "placement.ended":
        return name, {"ended_at": draw(INSTANTS)}
    if name == "placement.absence_recorded":
        first = draw(DATES)
        return name, {"from_date": first, "until_date": first + timedelta(days=draw(st.just(2)))}
    return name, {"effective_date": draw(DATES), **draw(VALUES[name])}


@st.composite
def shuffled_and_doubled(draw: st.DrawFn, facts: Sequence[Fact]) -> list[Fact]:
    """The same set of facts as another log may hold it: any order, some records several times.

    A doubled record is a copy that came again later: the least `received_at` stays what it was.
    """
    again = [
        replace(fact, received_at=fact.received_at + timedelta(days=draw(st.integers(0, 60))))
        for fact in (draw(st.lists(st.sampled_from(facts), max_size=5)) if facts else [])
    ]
    return moved(draw(st.permutations([*facts, *again])))
