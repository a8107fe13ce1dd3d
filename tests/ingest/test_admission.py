"""Who may say what: each refusal, in the order of the staircase."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from schemas.envelope import read_event
from services.ingest.admission import CODES, Denial, is_under, judge, standing_key

NOW = datetime(2026, 7, 15, 12, tzinfo=UTC)
ALL = frozenset({"*"})
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Sender:
    kind: str
    scopes: frozenset[str]
    firms: frozenset[str]
    placements: frozenset[str]
    sources: frozenset[str]


TRACKER = Sender(
    "tracker",
    frozenset({"events:write"}),
    frozenset({"f-1"}),
    frozenset({"p-1"}),
    frozenset({"tracker/a-1"}),
)
FIRM = Sender("firm", frozenset({"events:write"}), frozenset({"f-1"}), ALL, ALL)
ADMIN = Sender("admin", frozenset({"events:write", "directory:write", "import"}), ALL, ALL, ALL)

TASK = {"firm_id": "f-1", "placement_id": "p-1", "task_id": "t"}
STARTED = ("task.started", TASK)
REVIEWED = (
    "review.completed",
    {
        **TASK,
        "attempt": 1,
        "outcome": "accepted",
        "reviewer_id": "u",
        "reviewer_role": "attorney",
        "review_mode": "attorney",
    },
)
REGISTERED = ("assistant.registered", {"assistant_id": "a-1", "home_country": "PH"})
ENDED = (
    "placement.ended",
    {"firm_id": "f-1", "placement_id": "p-1", "ended_at": "2026-07-01T00:00:00Z"},
)
RETRACTED = (
    "event.retracted",
    {"firm_id": "f-1", "target_source": "s", "target_id": "i", "task_id": "t", "reason": "x"},
)
RECORDED = (
    "time.recorded",
    {
        "firm_id": "f-1",
        "placement_id": "p-1",
        "entry_id": "e",
        "work_date": "2026-07-01",
        "duration_seconds": 60,
        "task_type": "intake",
        "kind": "work",
        "billable": True,
    },
)


def event_of(what, *, source="tracker/a-1", time=NOW, **data):
    name, base = what
    return read_event(
        json.dumps(
            {
                "specversion": "1.0",
                "id": "i",
                "source": source,
                "type": f"turnsheet.{name}.v1",
                "time": time.isoformat(),
                "data": {**base, **data},
            }
        ).encode()
    )


def verdict(sender, event, known=None, *, importing=False):
    found = judge(sender, event, now=NOW, firm_of_placement=known or {}, importing=importing)
    return None if found is None else (found.code, found.pointer)


LAWFUL = [
    (TRACKER, STARTED, {}),
    (TRACKER, STARTED, {"source": "tracker/a-1/laptop"}),
    (TRACKER, RETRACTED, {"placement_id": "p-1"}),
    (FIRM, REVIEWED, {"source": "desk/9"}),
    (FIRM, RETRACTED, {}),
    (ADMIN, REGISTERED, {}),
    (ADMIN, ENDED, {}),
]


@pytest.mark.parametrize(("sender", "what", "changes"), LAWFUL)
def test_what_is_within_a_tokens_bounds_is_taken(sender, what, changes):
    assert verdict(sender, event_of(what, **changes)) is None


REFUSED = [
    (TRACKER, REVIEWED, {}, "type_not_allowed", "/type"),
    (TRACKER, ENDED, {}, "type_not_allowed", "/type"),
    (FIRM, STARTED, {}, "type_not_allowed", "/type"),
    (ADMIN, RECORDED, {}, "type_not_allowed", "/type"),
    (replace(ADMIN, scopes=frozenset({"events:write"})), ENDED, {}, "scope_missing", "/type"),
    (TRACKER, STARTED, {"firm_id": "f-2"}, "not_bound", "/data/firm_id"),
    (replace(TRACKER, firms=frozenset()), STARTED, {}, "not_bound", "/data/firm_id"),
    (FIRM, REVIEWED, {"firm_id": "f-1x"}, "not_bound", "/data/firm_id"),
    (
        replace(ADMIN, firms=frozenset({"f-1"})),
        REGISTERED,
        {},
        "not_bound",
        "/data/assistant_id",
    ),
    (TRACKER, STARTED, {"placement_id": "p-2"}, "not_bound", "/data/placement_id"),
    (replace(TRACKER, placements=frozenset()), STARTED, {}, "not_bound", "/data/placement_id"),
    (TRACKER, RETRACTED, {}, "not_bound", "/data/placement_id"),
    (TRACKER, RETRACTED, {"placement_id": "p-2"}, "not_bound", "/data/placement_id"),
    (TRACKER, STARTED, {"source": "tracker/a-11"}, "source_not_bound", "/source"),
    (TRACKER, STARTED, {"source": "tracker"}, "source_not_bound", "/source"),
    (replace(TRACKER, sources=frozenset()), STARTED, {}, "source_not_bound", "/source"),
    (TRACKER, STARTED, {"time": NOW + timedelta(hours=1)}, "time_ahead", "/time"),
    (TRACKER, STARTED, {"time": NOW - timedelta(days=500)}, "time_too_old", "/time"),
]


@pytest.mark.parametrize(("sender", "what", "changes", "code", "pointer"), REFUSED)
def test_what_is_beyond_them_is_refused_with_its_place(sender, what, changes, code, pointer):
    assert verdict(sender, event_of(what, **changes)) == (code, pointer)


def test_every_refusal_has_a_case_and_words():
    assert {code for *_, code, _ in REFUSED} == set(CODES)
    assert Denial("not_bound", "/type").detail == CODES["not_bound"]


def test_refusals_come_in_the_order_of_the_staircase():
    """Everything is wrong at first; each thing put right uncovers the next."""
    nobody: frozenset[str] = frozenset()
    sender = Sender("qa", nobody, nobody, nobody, nobody)
    late = NOW - timedelta(days=401)
    told = []
    for better in (
        {"kind": "admin"},
        {"scopes": frozenset({"directory:write"})},
        {"firms": ALL},
        {"placements": ALL},
        {"sources": ALL},
        {"scopes": frozenset({"directory:write", "import"})},
    ):
        found = verdict(sender, event_of(ENDED, time=late))
        assert found is not None
        told.append(found[0])
        sender = replace(sender, **better)
    assert told == [
        "type_not_allowed",
        "scope_missing",
        "not_bound",
        "not_bound",
        "source_not_bound",
        "time_too_old",
    ]
    assert verdict(sender, event_of(ENDED, time=late)) is None


PHASE = ("placement.phase_changed", {"firm_id": "f-1", "placement_id": "p-1", "phase": "active",
                                     "effective_date": "2026-07-01"})  # fmt: skip
OF_FIRMS = frozenset({"f-1", "f-3"})
CONNECTION = replace(FIRM, kind="connection")
HIDDEN = [
    (FIRM, REVIEWED, {}),
    (FIRM, RETRACTED, {"placement_id": "p-1"}),
    (CONNECTION, STARTED, {}),
    (CONNECTION, RECORDED, {}),
    (replace(TRACKER, placements=ALL), STARTED, {}),
    (replace(FIRM, firms=OF_FIRMS), REVIEWED, {}),
    (replace(ADMIN, firms=OF_FIRMS), RETRACTED, {"placement_id": "p-1"}),
]
KNOWN = [{}, {"p-1": "f-1"}, {"p-1": "f-2"}]


@pytest.mark.parametrize(("sender", "what", "changes"), HIDDEN)
@pytest.mark.parametrize("more", [{}, {"time": NOW + DAY}, {"time": NOW - 500 * DAY}])
@pytest.mark.parametrize("sources", [ALL, frozenset({"elsewhere"})])
def test_whose_a_placement_is_stays_hidden_from_who_names_any(sender, what, changes, more, sources):
    """Whatever else is wrong: another firm's is answered like nobody's, and like their own."""
    event = event_of(what, **changes, **more)
    bound = replace(sender, sources=sources)
    assert len({verdict(bound, event, known) for known in KNOWN}) == 1
    assert verdict(sender, event_of(what, **changes), {"p-1": "f-2"}) is None


TOLD = [
    (TRACKER, STARTED),  # its placements are named one by one
    (replace(FIRM, placements=frozenset({"p-1"})), REVIEWED),
    (ADMIN, ENDED),  # who sees all firms
    (replace(CONNECTION, firms=ALL), STARTED),
    (replace(FIRM, firms=frozenset({"f-1", "f-2"})), REVIEWED),  # or that firm
    (replace(ADMIN, firms=OF_FIRMS), ENDED),  # in the directory an id is of one firm
    (replace(ADMIN, firms=OF_FIRMS), PHASE),
]


@pytest.mark.parametrize(("sender", "what"), TOLD)
def test_others_are_told_that_a_placement_is_of_another_firm(sender, what):
    event = event_of(what)
    found = [verdict(sender, event, known) for known in KNOWN]
    assert found == [None, None, ("not_bound", "/data/placement_id")]


def test_what_one_event_is_refused_for_is_not_taken_for_anothers_of_other_bounds():
    task = event_of(STARTED)
    others = [
        event_of(("task.acknowledged", TASK)),
        event_of(STARTED, firm_id="f-2"),
        event_of(STARTED, placement_id="p-2"),
        event_of(STARTED, source="tracker/a-2"),
    ]
    assert len({standing_key(event) for event in (task, *others)}) == 5
    assert standing_key(event_of(STARTED, task_id="t-2", time=NOW - DAY)) == standing_key(task)


SECOND = timedelta(seconds=1)
MINUTES = timedelta(minutes=5)
DAYS = timedelta(days=400)


@pytest.mark.parametrize(
    ("time", "code"),
    [
        (NOW + MINUTES - SECOND, None),
        (NOW + MINUTES, None),
        (NOW + MINUTES + SECOND, "time_ahead"),
        (NOW - DAYS + SECOND, None),
        (NOW - DAYS, None),
        (NOW - DAYS - SECOND, "time_too_old"),
    ],
)
def test_the_window_of_time_is_exact_at_both_ends(time, code):
    found = judge(TRACKER, event_of(STARTED, time=time), now=NOW, firm_of_placement={})
    assert (found.code if found else None) == code


def test_time_ahead_says_from_when_it_will_be_taken():
    time = NOW + timedelta(hours=2)
    event = event_of(STARTED, time=time)
    found = judge(TRACKER, event, now=NOW, firm_of_placement={})
    assert found == Denial("time_ahead", "/time", time - MINUTES)
    assert found.retry_at is not None
    assert judge(TRACKER, event, now=found.retry_at, firm_of_placement={}) is None


CONTENT = {k: v for k, v in RECORDED[1].items() if k not in {"work_date", "duration_seconds"}}
REVISED = {"revision": 1, "reason": "typo"}
AN_HOUR = timedelta(hours=1)


def work(pointer, moment):
    """Tell, now, of an hour that starts or ends at a moment, or of an hour on a date."""
    match pointer:
        case "/data/work_date":
            return {"work_date": moment, "duration_seconds": 3600}
        case "/data/started_at":
            span = (moment, moment + AN_HOUR)
        case _:
            span = (moment - AN_HOUR, moment)
    return {"started_at": span[0].isoformat(), "ended_at": span[1].isoformat()}


SPANS = [
    ("/data/ended_at", NOW + MINUTES, None),
    ("/data/ended_at", NOW + MINUTES + SECOND, "time_ahead"),
    ("/data/started_at", NOW + MINUTES + SECOND, "time_ahead"),
    ("/data/started_at", NOW - DAYS, None),
    ("/data/started_at", NOW - DAYS - SECOND, "time_too_old"),
    # It is noon in UTC: at UTC+14 the 16th began two hours ago, at UTC-12 the 15th begins now.
    ("/data/work_date", "2026-07-16", None),
    ("/data/work_date", "2026-07-17", "time_ahead"),
    ("/data/work_date", "2025-06-09", None),  # 400 days ago it ended at UTC-12, the last place
    ("/data/work_date", "2025-06-08", "time_too_old"),
]


@pytest.mark.parametrize(("pointer", "moment", "code"), SPANS)
@pytest.mark.parametrize(("name", "more"), [("time.recorded", {}), ("time.amended", REVISED)])
def test_work_that_is_told_today_lies_in_the_same_window(pointer, moment, code, name, more):
    event = event_of((name, CONTENT | work(pointer, moment) | more))
    due = code and (code, pointer)
    assert verdict(TRACKER, event) == due
    importer = replace(TRACKER, scopes=TRACKER.scopes | {"import"})
    assert verdict(importer, event) == (due if code == "time_ahead" else None)


@pytest.mark.parametrize(
    ("pointer", "moment", "opens"),
    [
        ("/data/ended_at", NOW + AN_HOUR, NOW + AN_HOUR - MINUTES),
        ("/data/work_date", "2026-07-17", datetime(2026, 7, 16, 9, 55, tzinfo=UTC)),
    ],
)
def test_work_to_come_is_taken_from_the_moment_that_is_told(pointer, moment, opens):
    event = event_of(("time.recorded", CONTENT | work(pointer, moment)))
    found = judge(TRACKER, event, now=NOW, firm_of_placement={})
    assert found == Denial("time_ahead", pointer, opens)
    early = judge(TRACKER, event, now=opens - SECOND, firm_of_placement={})
    assert early == found
    assert judge(TRACKER, event, now=opens, firm_of_placement={}) is None


def test_a_date_is_too_old_a_second_after_400_days_from_its_end_everywhere():
    event = event_of(("time.recorded", CONTENT | work("/data/work_date", "2025-06-09")))
    found = judge(TRACKER, event, now=NOW + SECOND, firm_of_placement={})
    assert found == Denial("time_too_old", "/data/work_date")


def test_an_importer_brings_entries_for_whoever_may_import_within_their_bounds():
    old = event_of(RECORDED, time=NOW - timedelta(days=1_000), source="import/toggl")
    assert verdict(ADMIN, old, importing=True) is None
    bound = replace(ADMIN, firms=frozenset({"f-2"}))
    assert verdict(bound, old, importing=True) == ("not_bound", "/data/firm_id")
    bound = replace(ADMIN, sources=frozenset({"import/clockify"}))
    assert verdict(bound, old, importing=True) == ("source_not_bound", "/source")


@pytest.mark.parametrize(
    ("source", "prefix", "under"),
    [
        ("a", "a", True),
        ("a/b", "a", True),
        ("a/b", "a/", True),
        ("a", "a/", False),
        ("ab", "a", False),
        ("a/bc", "a/b", False),
        ("b/a", "a", False),
        ("anything", "*", True),
        ("https://toggl.com/w/1/2", "https://toggl.com/w/1", True),
        ("https://toggl.com/w/12", "https://toggl.com/w/1", False),
    ],
)
def test_a_prefix_ends_at_a_segments_end(source, prefix, under):
    assert is_under(source, prefix) is under


def test_a_timer_is_bound_in_age_whoever_brings_it():
    """Its two ends come apart: only their age says how long it may have run."""
    importer = replace(TRACKER, scopes=TRACKER.scopes | {"import"})
    for name in ("timer.started", "timer.stopped"):
        data = {"firm_id": "f-1", "placement_id": "p-1", "entry_id": "e-1", "task_type": "intake"}
        timer = (name, data)
        assert verdict(importer, event_of(timer, time=NOW - DAYS)) is None
        late = event_of(timer, time=NOW - DAYS - SECOND)
        assert verdict(importer, late) == ("time_too_old", "/time")
