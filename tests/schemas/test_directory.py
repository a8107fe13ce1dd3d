"""The fold of firms, placements and assistants, and their timelines."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.directory import (
    ASSISTANT,
    FIRM,
    PLACEMENT,
    Absence,
    Calendar,
    Firm,
    Placement,
    Timeline,
    comes_from,
    fold_assistant,
    fold_firm,
    fold_placement,
)
from schemas.directory_events import DaySlot, Override, Slot
from schemas.order import Anomaly
from tests.schemas.histories import (
    FIRM as FIRM_ID,
)
from tests.schemas.histories import (
    MONDAY_TO_FRIDAY,
    SOURCE,
    ZONE,
    History,
    at,
    codes,
    directory_histories,
    firm_facts,
    placement_facts,
    shuffled_and_doubled,
    whole_log,
)

NOON = "2026-06-01T12:00"
CALENDAR: dict[str, Any] = {"zone": ZONE, "slots": MONDAY_TO_FRIDAY}
FIRST, LATER = date(2026, 7, 1), date(2026, 8, 1)


def firm_of(history: History) -> Firm:
    firm = fold_firm(history.facts)
    assert firm is not None
    return firm


def placement_of(history: History) -> Placement:
    placement = fold_placement(history.facts)
    assert placement is not None
    return placement


def test_a_registration_alone_is_a_firm_without_a_calendar():
    history = History()
    firm_facts(history)

    assert firm_of(history) == Firm(
        firm_id=FIRM_ID,
        timezone=ZONE,
        currency="USD",
        countries=Timeline(((date.min, "US"),)),
        external_refs=Timeline(((date.min, None),)),
        calendars=Timeline(((date.min, None),)),
        anomalies=(),
    )


def test_nobody_is_known_before_registration_or_start():
    history = History()
    history.add("firm.calendar_changed", NOON, effective_date="2026-07-01", **CALENDAR)
    history.add("placement.ended", NOON, ended_at="2026-07-01T00:00:00Z")

    assert fold_firm(history.facts[:1]) is None
    assert fold_placement(history.facts[1:]) is None
    assert fold_assistant([]) is None


def test_of_two_registrations_the_first_received_fixes_zone_and_currency():
    history = History()
    late = {"timezone": "America/Chicago", "currency": "CAD", "country": "CA"}
    firm_facts(history, event_id="late", received_at="2026-02-02T00:00", **late)
    firm_facts(history, event_id="early", time="2026-02-01T00:00")

    firm = firm_of(history)

    assert (firm.timezone, firm.currency, firm.countries.on(FIRST)) == (ZONE, "USD", "US")
    assert firm.anomalies == (Anomaly("registration_conflict", SOURCE, "late"),)


def test_a_value_is_in_force_from_its_date_until_the_next():
    history = History()
    placement_facts(history, country="PH")
    history.add("placement.country_changed", NOON, country="MX", effective_date="2026-07-01")
    history.add("placement.country_changed", NOON, country="CO", effective_date="2026-08-01")

    countries = placement_of(history).countries

    days = ["1999-01-01", "2026-06-30", "2026-07-01", "2026-07-31", "2026-08-01", "2030-01-01"]
    assert [countries.on(date.fromisoformat(day)) for day in days] == [
        "PH",
        "PH",
        "MX",
        "MX",
        "CO",
        "CO",
    ]


def test_of_two_values_for_one_date_the_last_received_counts():
    history = History()
    placement_facts(history)
    change: dict[str, Any] = {"effective_date": "2026-07-01"}
    history.add(
        "placement.role_changed", NOON, received_at="2026-06-03", role="paralegal", **change
    )
    history.add(
        "placement.role_changed",
        "2026-06-02T12:00",
        received_at="2026-06-02T13:00",
        role="intake_specialist",
        **change,
    )

    assert placement_of(history).roles.on(FIRST) == "paralegal"


def test_a_repeated_copy_that_comes_last_does_not_count_as_the_last_word():
    history = History()
    placement_facts(history)
    change: dict[str, Any] = {"effective_date": "2026-07-01", "role": "paralegal"}
    history.add("placement.role_changed", NOON, event_id="a", **change)
    change["role"] = "intake_specialist"
    history.add("placement.role_changed", "2026-06-02T12:00", event_id="b", **change)
    change["role"] = "paralegal"
    history.add("placement.role_changed", NOON, event_id="a", received_at="2026-06-09", **change)

    assert placement_of(history).roles.on(FIRST) == "intake_specialist"


def test_of_two_values_received_at_one_instant_the_greatest_hash_counts():
    history = History()
    placement_facts(history)
    for phase in ("trial", "shadow"):
        history.add("placement.phase_changed", NOON, phase=phase, effective_date="2026-07-01")
    greatest: Any = max(history.facts[1:], key=lambda fact: fact.content_hash).data

    assert placement_of(history).phases.on(FIRST) == greatest.phase


def test_a_firms_first_calendar_reaches_back_and_the_next_does_not():
    history = History()
    firm_facts(history)
    first = history.add(
        "firm.calendar_changed",
        NOON,
        effective_date="2026-07-01",
        closed_dates=["2026-07-04", "2026-07-03", "2026-07-03"],
        overrides=[{"date": "2026-07-03", "slots": [{"start": "09:00", "minutes": 60}]}],
        **CALENDAR,
    )
    history.add("firm.calendar_changed", NOON, effective_date="2026-08-01", zone="UTC", slots=[])

    calendars = firm_of(history).calendars

    office = Calendar(
        zone=ZONE,
        slots=tuple(Slot(weekday=day, start="09:00", minutes=480) for day in range(1, 6)),
        closed_dates=(date(2026, 7, 3), date(2026, 7, 4)),
        overrides=(Override(date=date(2026, 7, 3), slots=[DaySlot(start="09:00", minutes=60)]),),
        version=first.content_hash.hex(),
    )
    assert [since for since, _ in calendars.changes] == [date.min, LATER]
    assert calendars.on(date(1999, 1, 1)) == calendars.on(FIRST) == office
    after = calendars.on(LATER)
    assert after is not None
    assert (after.zone, after.slots) == ("UTC", ())


def test_a_firms_changes_leave_alone_what_they_do_not_name():
    history = History()
    firm_facts(history)
    history.add("firm.changed", NOON, external_ref="crm-7", effective_date="2026-07-01")
    history.add("firm.changed", NOON, country="CA", effective_date="2026-08-01")

    firm = firm_of(history)

    assert [firm.countries.on(day) for day in (FIRST, LATER)] == ["US", "CA"]
    assert [firm.external_refs.on(day) for day in (FIRST, LATER)] == ["crm-7", "crm-7"]


def test_a_placement_has_its_start_its_end_and_its_absences():
    history = History()
    placement_facts(history, "2026-06-01T09:00:00.700+08:00", allowed_task_types=["intake"])
    history.add("placement.ended", NOON, ended_at="2026-09-01T17:00:00.700Z")
    for _ in range(2):
        history.add(
            "placement.absence_recorded", NOON, from_date="2026-07-01", until_date="2026-07-03"
        )
    history.add("placement.source_changed", NOON, source="/tools", effective_date="2026-07-01")

    placement = placement_of(history)

    assert placement.started_at == at("2026-06-01T01:00:00Z")
    assert placement.ended_at == at("2026-09-01T17:00:00Z")
    assert placement.absences == (Absence(date(2026, 7, 1), date(2026, 7, 3)),)
    assert placement.allowed_task_types == ("intake",)
    assert [placement.sources.on(day) for day in (date(2026, 6, 30), FIRST)] == [None, "/tools"]


def test_a_wrong_start_or_end_is_put_right_by_the_last_word():
    history = History()
    placement_facts(history, "2026-06-01T00:00:00Z", event_id="first", country="PH")
    placement_facts(history, "2026-06-08T00:00:00Z", time="2026-01-02T00:00", country="MX")
    history.add("placement.ended", NOON, ended_at="2026-10-01T00:00:00Z")
    history.add("placement.ended", "2026-06-02T12:00", ended_at="2026-09-01T00:00:00Z")

    placement = placement_of(history)

    assert placement.started_at == at("2026-06-08T00:00:00Z")
    assert placement.ended_at == at("2026-09-01T00:00:00Z")
    assert placement.countries.on(FIRST) == "MX"
    assert placement.anomalies == (Anomaly("registration_conflict", SOURCE, "first"),)


def test_a_start_that_names_another_assistant_is_not_applied():
    history = History()
    placement_facts(history, "2026-06-01T00:00:00Z")
    placement_facts(
        history,
        "2026-06-08T00:00:00Z",
        time="2026-01-02T00:00",
        event_id="stray",
        assistant_id="asst-2",
    )

    placement = placement_of(history)

    assert (placement.assistant_id, placement.started_at) == ("asst-1", at("2026-06-01T00:00:00Z"))
    assert placement.anomalies == (Anomaly("registration_conflict", SOURCE, "stray"),)


def test_an_assistant_has_a_home_and_vettings_by_date():
    history = History()
    asst: dict[str, Any] = {"assistant_id": "asst-1"}
    scores = dict.fromkeys(["english", "software", "detail", "confidentiality", "escalation"], 4)
    history.add("assistant.registered", NOON, home_country="PH", **asst)
    history.add("assistant.changed", NOON, home_country="MX", effective_date="2026-08-01", **asst)
    vetted: dict[str, Any] = {**asst, **scores, "rubric_version": "v1"}
    history.add("assistant.vetted", NOON, effective_date="2026-07-01", **vetted)

    assistant = fold_assistant(history.facts)

    assert assistant is not None
    assert [assistant.home_countries.on(day) for day in (FIRST, LATER)] == ["PH", "MX"]
    assert [assistant.vettings.on(day) for day in (date(2026, 6, 30), LATER)] == [
        None,
        history.facts[2].data,
    ]
    assert ASSISTANT.validate_json(ASSISTANT.dump_json(assistant)) == assistant


def test_of_two_registrations_of_an_assistant_the_first_received_fixes_the_home():
    history = History()
    asst: dict[str, Any] = {"assistant_id": "asst-1"}
    late: dict[str, Any] = {"event_id": "late", "received_at": "2026-06-03T12:00"}
    history.add("assistant.registered", NOON, home_country="MX", **late, **asst)
    history.add("assistant.registered", NOON, event_id="early", home_country="PH", **asst)

    assistant = fold_assistant(history.facts)

    assert assistant is not None
    assert assistant.home_countries.on(FIRST) == "PH"
    assert assistant.anomalies == (Anomaly("registration_conflict", SOURCE, "late"),)


@pytest.mark.parametrize(("given", "allowed"), [(None, None), ([], ()), (["intake"], ("intake",))])
def test_to_allow_no_task_type_is_not_to_allow_them_all(given, allowed):
    history = History()
    placement_facts(history, allowed_task_types=given)

    assert placement_of(history).allowed_task_types == allowed


def test_a_directory_is_folded_from_what_a_cut_holds():
    history = History()
    placement_facts(history)
    history.add("placement.ended", NOON, ended_at="2026-07-01T00:00:00Z")

    placement = fold_placement(history.facts, whole_log(history.facts, at("2026-06-01T11:00")))

    assert placement is not None
    assert placement.ended_at is None


@pytest.mark.parametrize(
    ("source", "prefix", "inside"),
    [
        ("/trackers/asst-1", "/trackers/asst-1", True),
        ("/trackers/asst-1/phone", "/trackers/asst-1", True),
        ("/trackers/asst-1/phone", "/trackers/asst-1/", True),
        ("/trackers/asst-10", "/trackers/asst-1", False),
        ("/trackers", "/trackers/asst-1", False),
        ("/connections/toggl", "/trackers", False),
        ("/trackers", "/trackers/", True),
        ("/anything", "/", True),
    ],
)
def test_a_source_lies_under_a_prefix_on_a_segments_boundary(source, prefix, inside):
    assert comes_from(source, prefix) is inside


@settings(max_examples=200)
@given(data=st.data(), facts=directory_histories())
def test_any_order_and_duplication_of_a_history_folds_to_the_same_directory(data, facts):
    other = data.draw(shuffled_and_doubled(facts))

    for kind, fold in (("firm", fold_firm), ("placement", fold_placement)):
        one, two = (
            fold([fact for fact in log if fact.entity.kind == kind]) for log in (facts, other)
        )
        assert one == two


@settings(max_examples=200)
@given(facts=directory_histories())
def test_a_directory_reads_back_as_it_was_written(facts):
    firm = fold_firm([fact for fact in facts if fact.entity.kind == "firm"])
    placement = fold_placement([fact for fact in facts if fact.entity.kind == "placement"])

    assert firm is None or FIRM.validate_json(FIRM.dump_json(firm)) == firm
    assert placement is None or PLACEMENT.validate_json(PLACEMENT.dump_json(placement)) == placement


def test_a_directory_event_is_never_retracted():
    """A retraction cannot even name one; an admin's that hits its ids by chance takes nothing."""
    history = History()
    target = placement_facts(history)
    retraction = History()
    retraction.add(
        "event.retracted",
        NOON,
        principal="admin:ops",
        placement_id=None,
        target_source=target.source,
        target_id=target.id,
        entry_id="ent-1",
        reason="mistake",
    )

    placement = fold_placement([*history.facts, *retraction.facts])

    assert placement is not None
    assert codes(placement.anomalies) == ["retraction_unmatched"]
