"""The models of every type: a lawful sample of each, and the entity it belongs to."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.events import RANKS, TOPIC_OF_KIND, TOPICS, TYPES, EntityKey, entity_of
from schemas.fields import NO_FIRM

FIRM = {"firm_id": "f"}
PLACED = {**FIRM, "placement_id": "p"}
TASK = {**PLACED, "task_id": "t"}
ENTRY = {**PLACED, "entry_id": "e"}
INTERVAL = {
    **ENTRY,
    "started_at": "2026-07-01T09:00:00Z",
    "ended_at": "2026-07-01T10:00:00Z",
    "task_type": "intake",
    "kind": "work",
    "billable": True,
}
SLOTS = [{"weekday": 1, "start": "09:00", "minutes": 480}]
SHIFT = {"zone": "Asia/Manila", "slots": SLOTS}
FROM = {"effective_date": "2026-07-01"}
SAMPLES: dict[str, dict[str, Any]] = {
    "task.requested": {**TASK, "task_type": "intake", "requested_by": "u-1"},
    "task.assigned": {**TASK, "assistant_id": "a"},
    "task.reassigned": {**TASK, "assistant_id": "a"},
    "task.acknowledged": TASK,
    "task.started": {**TASK, "attempt": 2},
    "task.resumed": {**TASK, "hold_id": "h", "reason": "waiting_on_firm"},
    "task.held": {**TASK, "hold_id": "h", "reason": "waiting_on_agency"},
    "task.submitted": {**TASK, "attempt": 1},
    "review.completed": {
        **TASK,
        "attempt": 1,
        "outcome": "accepted",
        "reviewer_id": "u-2",
        "reviewer_role": "attorney",
        "review_mode": "attorney",
    },
    "defect.reported": {
        **TASK,
        "defect_id": "d",
        "severity": "minor",
        "category": "formatting",
        "found_stage": "review",
    },
    "task.reopened": {**TASK, "reason": "client_asked"},
    "task.cancelled": {**TASK, "reason": "settled"},
    "escalation.raised": {**PLACED, "escalation_id": "x", "category": "access"},
    "escalation.acknowledged": {**PLACED, "escalation_id": "x"},
    "escalation.resolved": {**TASK, "escalation_id": "x", "disposition": "needed"},
    "time.recorded": INTERVAL,
    "timer.started": {**ENTRY, "task_type": "intake"},
    "timer.stopped": {**ENTRY, "task_type": "intake", "task_id": "t"},
    "time.amended": {**INTERVAL, "revision": 1, "reason": "typo"},
    "time.voided": {**ENTRY, "revision": 2, "reason": "doubled"},
    "event.retracted": {
        **FIRM,
        "target_source": "s",
        "target_id": "i",
        "task_id": "t",
        "reason": "mistake",
    },
    "firm.registered": {
        **FIRM,
        "timezone": "America/New_York",
        "country": "US",
        "currency": "USD",
    },
    "firm.changed": {**FIRM, **FROM, "external_ref": "crm-9"},
    "firm.calendar_changed": {
        **FIRM,
        **FROM,
        "zone": "America/New_York",
        "slots": SLOTS,
        "closed_dates": ["2026-07-03"],
        "overrides": [{"date": "2026-07-02", "slots": [{"start": "09:00", "minutes": 60}]}],
    },
    "assistant.registered": {"assistant_id": "a", "home_country": "PH"},
    "assistant.changed": {"assistant_id": "a", "home_country": "MX", **FROM},
    "assistant.vetted": {
        "assistant_id": "a",
        "english": 5,
        "software": 4,
        "detail": 3,
        "confidentiality": 2,
        "escalation": 1,
        "rubric_version": "v1",
        **FROM,
    },
    "placement.started": {
        **PLACED,
        "assistant_id": "a",
        "role": "legal_assistant",
        "country": "PH",
        "phase": "trial",
        "coverage": "overnight",
        "shift": SHIFT,
        "supervising_attorney_id": "u-2",
        "started_at": "2026-07-01T00:00:00-04:00",
    },
    "placement.phase_changed": {**PLACED, **FROM, "phase": "active"},
    "placement.country_changed": {**PLACED, **FROM, "country": "CO"},
    "placement.role_changed": {**PLACED, **FROM, "role": "paralegal"},
    "placement.shift_changed": {**PLACED, **FROM, "shift": SHIFT},
    "placement.source_changed": {**PLACED, **FROM, "source": "import/toggl"},
    "placement.absence_recorded": {
        **PLACED,
        "from_date": "2026-07-01",
        "until_date": "2026-07-02",
    },
    "placement.control_recorded": {
        **PLACED,
        "kind": "nda",
        "state": "signed",
        "at": "2026-07-01T00:00:00Z",
        "by": "u-1",
        "ref": "vault-17",
    },
    "placement.ended": {**PLACED, "ended_at": "2026-07-01T00:00:00Z"},
}


def read(name, data):
    return TYPES[name].data.model_validate_json(json.dumps(data))


def name_of(short):
    return f"turnsheet.{short}.v1"


def test_every_type_has_a_sample():
    assert [name_of(short) for short in SAMPLES] == list(TYPES)


@pytest.mark.parametrize(("short", "data"), SAMPLES.items(), ids=list(SAMPLES))
def test_a_sample_is_read_and_one_field_more_is_not(short, data):
    name = name_of(short)
    event = read(name, data)
    assert entity_of(name, event).kind in TOPIC_OF_KIND
    with pytest.raises(ValidationError) as met:
        read(name, {**data, "description": "call with the clerk"})
    assert met.value.errors()[0]["type"] == "extra_forbidden"


@pytest.mark.parametrize(("short", "data"), SAMPLES.items(), ids=list(SAMPLES))
def test_every_required_field_is_missed(short, data):
    fields = TYPES[name_of(short)].data.model_fields
    for field in data:
        if fields[field].is_required():
            with pytest.raises(ValidationError) as met:
                read(name_of(short), {k: v for k, v in data.items() if k != field})
            assert (field,) in [error["loc"] for error in met.value.errors()]


ENTITIES = [
    ("task.submitted", {}, EntityKey("f", "task", "t")),
    ("review.completed", {}, EntityKey("f", "task", "t")),
    ("defect.reported", {}, EntityKey("f", "task", "t")),
    ("escalation.raised", {}, EntityKey("f", "escalation", "x")),
    ("escalation.raised", {"task_id": "t"}, EntityKey("f", "task", "t")),
    ("escalation.resolved", {}, EntityKey("f", "task", "t")),
    ("timer.stopped", {}, EntityKey("f", "entry", "e")),
    ("time.voided", {}, EntityKey("f", "entry", "e")),
    ("event.retracted", {}, EntityKey("f", "task", "t")),
    ("firm.calendar_changed", {}, EntityKey("f", "firm", "f")),
    ("placement.ended", {}, EntityKey("f", "placement", "p")),
    ("assistant.vetted", {}, EntityKey(NO_FIRM, "assistant", "a")),
]


@pytest.mark.parametrize(("short", "more", "entity"), ENTITIES)
def test_an_event_belongs_to_one_entity(short, more, entity):
    name = name_of(short)
    assert entity_of(name, read(name, {**SAMPLES[short], **more})) == entity


@pytest.mark.parametrize(
    ("target", "kind"),
    [("task_id", "task"), ("escalation_id", "escalation"), ("entry_id", "entry")],
)
def test_a_retraction_lands_beside_its_target(target, kind):
    name = name_of("event.retracted")
    data = {**FIRM, "target_source": "s", "target_id": "i", "reason": "mistake", target: "z"}
    assert entity_of(name, read(name, data)) == EntityKey("f", kind, "z")


def error_of(short, changes):
    with pytest.raises(ValidationError) as met:
        read(name_of(short), {k: v for k, v in (SAMPLES[short] | changes).items() if v is not ...})
    return met.value.errors()[0]["type"]


SHAPES = [
    ("time.recorded", {"ended_at": ...}, "entry_shape"),
    ("time.recorded", {"ended_at": None}, "entry_shape"),
    ("time.recorded", {"work_date": "2026-07-01", "duration_seconds": 60}, "entry_shape"),
    ("time.recorded", {"duration_seconds": 60, "started_at": ..., "ended_at": ...}, "entry_shape"),
    ("time.amended", {"started_at": ..., "ended_at": ...}, "entry_shape"),
    (
        "time.recorded",
        {"started_at": "2025-06-01T00:00:00Z", "ended_at": "2026-07-06T00:00:01Z"},
        "entry_too_long",
    ),
    ("event.retracted", {"task_id": ...}, "retraction_target"),
    ("event.retracted", {"entry_id": "e"}, "retraction_target"),
    ("placement.absence_recorded", {"until_date": "2026-07-01"}, "absence_order"),
    ("firm.registered", {"timezone": "+08:00"}, "unknown_zone"),
    ("firm.registered", {"timezone": "Mars/Olympus"}, "unknown_zone"),
    ("firm.registered", {"country": "XX"}, "unknown_country"),
    ("firm.registered", {"currency": "usd"}, "string_pattern_mismatch"),
    ("placement.phase_changed", {"effective_date": "2026-07-01T00:00:00Z"}, "date_format"),
]


@pytest.mark.parametrize(("short", "changes", "error"), SHAPES)
def test_what_no_field_alone_can_say_is_refused(short, changes, error):
    assert error_of(short, changes) == error


LIMITS = [
    ("time.recorded", "duration_seconds", 0, 86_400),
    ("time.amended", "revision", 1, 1_000_000),
    ("task.submitted", "attempt", 1, 10_000),
    ("review.completed", "review_minutes", 0, 100_000),
    ("defect.reported", "opportunities", 1, 1_000_000),
    ("assistant.vetted", "english", 1, 5),
]


@pytest.mark.parametrize(("short", "field", "least", "most"), LIMITS)
def test_a_number_has_its_least_and_its_most(short, field, least, most):
    whole_day = {"started_at": None, "ended_at": None, "work_date": "2026-07-01"}
    base = SAMPLES[short] | (whole_day if field == "duration_seconds" else {})
    for value in (least, least + 1, most - 1, most):
        assert getattr(read(name_of(short), {**base, field: value}), field) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ValidationError):
            read(name_of(short), {**base, field: value})


def test_events_of_one_instant_have_their_order():
    shorts = [name.removeprefix("turnsheet.").removesuffix(".v1") for name in RANKS]
    assert shorts[:12] == [
        "task.requested",
        "task.assigned",
        "task.reassigned",
        "task.acknowledged",
        "task.started",
        "task.resumed",
        "task.held",
        "task.submitted",
        "review.completed",
        "defect.reported",
        "task.reopened",
        "task.cancelled",
    ]
    assert all(short.startswith("escalation.") for short in shorts[12:15])


def test_every_topic_has_its_kinds():
    assert set(TOPIC_OF_KIND.values()) == set(TOPICS)


def test_only_admins_write_the_directory_and_nobody_else_reviews_but_firm_and_qa():
    for row in TYPES.values():
        if row.kind in ("firm", "assistant", "placement"):
            assert row.senders == {"admin"}
    assert TYPES[name_of("review.completed")].senders == {"firm", "qa"}


def test_an_entry_lasts_four_hundred_days_at_most():
    longest = {"started_at": "2025-06-01T00:00:00Z", "ended_at": "2026-07-06T00:00:00Z"}
    read(name_of("time.recorded"), SAMPLES["time.recorded"] | longest)
