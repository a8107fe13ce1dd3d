"""The fold of a time entry: revisions, timers, placements, and what its version names."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.entries import Entry, fold_entry
from schemas.events import EventRetracted
from schemas.facts import Cut
from schemas.order import Anomaly
from tests.schemas.histories import (
    ADMIN,
    DAY_ONE,
    ENTRY,
    FIRM,
    PLACEMENT,
    SOURCE,
    History,
    at,
    codes,
    entry_histories,
    recorded,
    shuffled_and_doubled,
    whole_log,
)

NINE = "2026-07-01T13:00:00Z"
TEN = "2026-07-01T14:00:00Z"
ELEVEN = "2026-07-01T15:00:00Z"
SENT = "2026-07-01T16:00:00Z"
OTHER: dict[str, Any] = {"placement_id": "plc-2"}


def fold(history: History) -> Entry:
    entry = fold_entry(history.facts)
    assert entry is not None
    return entry


def amended(revision: int, **changed):
    return recorded(**changed) | {"revision": revision, "reason": "correction"}


def timer(**changed):
    return {"entry_id": ENTRY, "task_type": "document_prep", **changed}


def test_a_recorded_interval_is_a_closed_entry_of_revision_0():
    history = History()
    history.add(
        "time.recorded",
        SENT,
        event_id="a",
        received_at="2026-07-01T16:00:09Z",
        **recorded(
            task_id="task-1",
            matter_ref="m-1",
            note_ref="n-1",
            activity_code="A103",
            task_code="L110",
            kind="rework",
            billable=False,
        ),
    )

    entry = fold(history)

    assert entry == Entry(
        firm_id=FIRM,
        entry_id=ENTRY,
        placement_id=PLACEMENT,
        status="closed",
        revision=0,
        started_at=at(NINE),
        ended_at=at(TEN),
        work_date=None,
        duration_seconds=3_600,
        task_id="task-1",
        task_type="document_prep",
        matter_ref="m-1",
        note_ref="n-1",
        activity_code="A103",
        task_code="L110",
        kind="rework",
        billable=False,
        source=SOURCE,
        version=entry.version,
        last_received_at=at("2026-07-01T16:00:09Z"),
        anomalies=(),
    )
    assert len(bytes.fromhex(entry.version)) == 32


def test_a_duration_without_clock_times_belongs_to_its_work_date():
    history = History()
    content = recorded(started_at=None, ended_at=None, work_date="2026-07-01", duration_seconds=90)
    history.add("time.recorded", SENT, **content)

    entry = fold(history)

    assert (entry.status, entry.started_at, entry.ended_at) == ("closed", None, None)
    assert (entry.work_date, entry.duration_seconds) == (date(2026, 7, 1), 90)


def test_a_timer_pairs_up_whatever_end_comes_first_and_the_stop_names_the_work():
    history = History()
    history.add(
        "timer.stopped",
        TEN,
        event_id="stop",
        event_source="/phone",
        received_at="2026-07-01T14:00:05Z",
        **timer(task_type="intake", billable=False),
    )
    history.add(
        "timer.started",
        NINE,
        event_id="start",
        received_at="2026-07-01T18:00:00Z",
        **timer(task_id="task-1", matter_ref="m-1"),
    )

    entry = fold(history)

    assert (entry.status, entry.revision, entry.duration_seconds) == ("closed", 0, 3_600)
    assert (entry.task_type, entry.task_id, entry.matter_ref) == ("intake", None, None)
    assert (entry.billable, entry.kind, entry.source) == (False, "work", "/phone")
    assert entry.last_received_at == at("2026-07-01T18:00:00Z")
    assert entry.anomalies == ()


@pytest.mark.parametrize(
    ("end", "started_at", "ended_at"),
    [("timer.started", at(NINE), None), ("timer.stopped", None, at(NINE))],
)
def test_one_end_of_a_timer_is_an_open_entry_without_seconds(end, started_at, ended_at):
    history = History()
    history.add(end, NINE, **timer())

    entry = fold(history)

    assert (entry.status, entry.duration_seconds) == ("open", None)
    assert (entry.started_at, entry.ended_at) == (started_at, ended_at)


def test_a_recording_goes_before_a_timer_of_the_same_revision():
    history = History()
    history.add("timer.started", NINE, event_id="start", **timer())
    history.add("time.recorded", NINE, event_id="whole", **recorded(ended_at=ELEVEN))
    history.add("timer.stopped", SENT, event_id="stop", **timer())

    entry = fold(history)

    assert (entry.duration_seconds, entry.revision) == (7_200, 0)
    assert entry.anomalies == (
        Anomaly("revision_overruled", SOURCE, "start"),
        Anomaly("revision_overruled", SOURCE, "stop"),
    )


def test_the_highest_revision_wins_whenever_it_came():
    history = History()
    history.add("time.amended", "2026-07-02T09:00", **amended(3, ended_at=ELEVEN))
    history.add("time.amended", "2026-07-03T09:00", **amended(2))
    history.add("time.recorded", SENT, **recorded())

    entry = fold(history)

    assert (entry.revision, entry.duration_seconds, entry.anomalies) == (3, 7_200, ())


def test_an_amendment_closes_an_open_timer():
    history = History()
    history.add("timer.started", NINE, **timer())
    history.add("time.amended", SENT, **amended(1))

    assert (fold(history).status, fold(history).duration_seconds) == ("closed", 3_600)


def test_a_void_is_a_revision_like_any_other():
    history = History()
    history.add("time.recorded", SENT, **recorded())
    history.add("time.voided", "2026-07-02T09:00", entry_id=ENTRY, revision=2, reason="double")
    history.add("time.amended", "2026-07-03T09:00", **amended(1))

    entry = fold(history)

    assert (entry.status, entry.revision, entry.duration_seconds) == ("void", 2, None)
    assert (entry.task_type, entry.kind, entry.billable) == (None, None, None)
    assert entry.placement_id == PLACEMENT

    history.add("time.amended", "2026-07-01T09:00", **amended(3))
    assert (fold(history).status, fold(history).duration_seconds) == ("closed", 3_600)


def test_of_two_contents_of_one_revision_the_latest_counts_with_an_anomaly():
    history = History()
    history.add("time.amended", "2026-07-02T10:00", event_id="late", **amended(1, ended_at=ELEVEN))
    history.add("time.amended", "2026-07-02T09:00", event_id="early", **amended(1))

    entry = fold(history)

    assert entry.duration_seconds == 7_200
    assert entry.anomalies == (Anomaly("revision_conflict", SOURCE, "early"),)


def test_of_two_contents_of_one_revision_and_instant_the_greatest_hash_counts():
    history = History()
    history.add("time.amended", "2026-07-02T10:00", event_id="a", **amended(1, ended_at=ELEVEN))
    history.add("time.amended", "2026-07-02T10:00", event_id="b", **amended(1))
    greatest = max(history.facts, key=lambda fact: fact.content_hash)

    entry = fold(history)

    assert entry.duration_seconds == (7_200 if greatest.id == "a" else 3_600)
    assert codes(entry.anomalies) == ["revision_conflict"]


def test_the_same_content_under_two_ids_is_no_anomaly():
    history = History()
    history.add("time.recorded", SENT, event_id="a", **recorded())
    history.add("time.recorded", SENT, event_id="b", **recorded())

    assert (fold(history).duration_seconds, fold(history).anomalies) == (3_600, ())


def test_a_second_start_of_a_timer_is_an_anomaly_and_the_latest_counts():
    history = History()
    history.add("timer.started", NINE, event_id="first", **timer())
    history.add("timer.started", TEN, event_id="second", **timer())
    history.add("timer.stopped", ELEVEN, event_id="stop", **timer())

    entry = fold(history)

    assert entry.duration_seconds == 3_600
    assert entry.anomalies == (Anomaly("revision_conflict", SOURCE, "first"),)


def test_the_same_start_under_two_ids_is_no_anomaly():
    history = History()
    history.add("timer.started", NINE, event_id="a", **timer())
    history.add("timer.started", NINE, event_id="b", **timer())
    history.add("timer.stopped", TEN, **timer())

    assert (fold(history).duration_seconds, fold(history).anomalies) == (3_600, ())


def test_instants_are_cut_to_whole_seconds_before_they_are_subtracted():
    history = History()
    content = recorded(started_at="2026-07-01T13:00:00.900Z", ended_at="2026-07-01T13:00:02.100Z")
    history.add("time.recorded", SENT, **content)

    entry = fold(history)

    assert (entry.started_at, entry.duration_seconds) == (at(NINE), 2)


def test_an_entry_that_ends_before_it_starts_has_no_seconds_and_an_anomaly():
    history = History()
    history.add("timer.started", TEN, event_id="start", **timer())
    history.add("timer.stopped", NINE, event_id="stop", **timer())

    entry = fold(history)

    assert (entry.status, entry.duration_seconds) == ("closed", 0)
    assert entry.anomalies == (Anomaly("ends_before_start", SOURCE, "start"),)


def test_an_entry_that_ends_as_it_starts_has_no_seconds_and_nothing_odd():
    history = History()
    history.add("time.recorded", SENT, **recorded(started_at=NINE, ended_at=NINE))

    entry = fold(history)

    assert (entry.status, entry.duration_seconds, entry.anomalies) == ("closed", 0, ())


def test_clocks_are_compared_as_instants_over_the_change_of_the_hour():
    history = History()
    content = recorded(started_at="2026-11-01T01:30:00-04:00", ended_at="2026-11-01T01:15:00-05:00")
    history.add("time.recorded", "2026-11-01T12:00", **content)

    entry = fold(history)

    assert (entry.duration_seconds, entry.anomalies) == (45 * 60, ())


def test_an_entry_stays_with_the_placement_of_its_lowest_revision():
    history = History()
    history.add("time.amended", "2026-07-03T09:00", event_id="moved", **amended(2), **OTHER)
    history.add("time.amended", "2026-07-02T09:00", **amended(1, ended_at=ELEVEN))
    history.add("time.recorded", SENT, **recorded())

    entry = fold(history)

    assert (entry.placement_id, entry.revision, entry.duration_seconds) == (PLACEMENT, 1, 7_200)
    assert entry.anomalies == (Anomaly("other_placement", SOURCE, "moved"),)


def test_an_entry_stays_with_the_placement_that_was_named_first_whatever_time_another_claims():
    history = History()
    history.add("time.recorded", SENT, **recorded())
    history.add("time.recorded", "2026-07-20T09:00", event_id="late", **recorded(), **OTHER)
    history.add(
        "time.recorded",
        "2026-06-01T09:00",
        event_id="early",
        received_at="2026-07-20T09:00",
        **recorded(),
        **OTHER,
    )

    entry = fold(history)

    assert entry.placement_id == PLACEMENT
    assert codes(entry.anomalies) == ["other_placement", "other_placement"]


@pytest.mark.parametrize("sources", [("/a", "/z"), ("/z", "/a")])
def test_of_two_placements_named_at_one_instant_that_of_the_least_hash_counts(sources):
    history = History()
    for source, placement_id in zip(sources, ("plc-1", "plc-2"), strict=True):
        content = recorded(placement_id=placement_id)
        history.add("time.recorded", SENT, event_source=source, **content)
    least: Any = min(history.facts, key=lambda fact: fact.content_hash).data

    assert fold(history).placement_id == least.placement_id


def test_a_timer_is_not_stopped_by_another_placement():
    history = History()
    history.add("timer.started", NINE, **timer())
    history.add("timer.stopped", TEN, event_id="foreign", **timer(), **OTHER)

    entry = fold(history)

    assert (entry.placement_id, entry.status) == (PLACEMENT, "open")
    assert entry.anomalies == (Anomaly("other_placement", SOURCE, "foreign"),)


def test_the_lowest_revision_is_the_lowest_that_stands():
    history = History()
    first = history.add("time.recorded", SENT, **recorded())
    history.add("time.amended", "2026-07-03T09:00", **amended(2), **OTHER)
    history.retract(first, "2026-07-04T09:00")

    entry = fold(history)

    assert (entry.placement_id, entry.revision, entry.anomalies) == ("plc-2", 2, ())


def test_a_void_that_names_another_placement_voids_nothing():
    history = History()
    history.add("time.recorded", SENT, **recorded())
    void: dict[str, Any] = {"entry_id": ENTRY, "revision": 9, "reason": "double", **OTHER}
    history.add("time.voided", "2026-07-02T09:00", **void)

    assert (fold(history).status, codes(fold(history).anomalies)) == ("closed", ["other_placement"])


def test_nothing_stands_of_an_entry_without_facts_or_wholly_retracted():
    history = History()
    history.retract(history.add("time.recorded", SENT, **recorded()), SENT)

    assert fold_entry([]) is None
    assert fold_entry(history.facts) is None


def test_an_entry_is_folded_from_what_a_cut_holds():
    history = History()
    history.add("time.recorded", SENT, **recorded())
    history.add("time.amended", "2026-07-02T09:00", **amended(1, ended_at=ELEVEN))

    first = fold_entry(history.facts, Cut({("time-events", 0): 1}))
    timely = fold_entry(history.facts, whole_log(history.facts, at("2026-07-02T08:59:59")))

    assert first is not None
    assert first.duration_seconds == 3_600
    assert timely == first


@pytest.mark.parametrize(
    "change",
    [
        {"ended_at": ELEVEN},
        {"started_at": None, "ended_at": None, "work_date": "2026-07-01", "duration_seconds": 3600},
        {"task_id": "task-1"},
        {"task_type": "intake"},
        {"matter_ref": "m-2"},
        {"note_ref": "n-2"},
        {"activity_code": "A104"},
        {"task_code": "L120"},
        {"kind": "meeting"},
        {"billable": False},
        {"placement_id": "plc-2"},
        {"firm_id": "firm-2"},
        {"entry_id": "ent-2"},
    ],
    ids=str,
)
def test_the_version_names_every_field_of_the_state(change):
    one, other = History(), History()
    one.add("time.recorded", SENT, **recorded())
    other.add("time.recorded", SENT, **recorded(**change))

    assert fold(one).version != fold(other).version


def test_the_version_names_the_revision_and_the_source_too():
    histories = [History() for _ in range(3)]
    histories[0].add("time.amended", SENT, **amended(1))
    histories[1].add("time.amended", SENT, **amended(2))
    histories[2].add("time.amended", SENT, event_source="/connections/toggl", **amended(1))

    assert len({fold(history).version for history in histories}) == 3


def test_the_version_is_that_of_the_state_and_not_of_its_anomalies_or_its_receipt():
    history = History()
    history.add("time.amended", SENT, **amended(1))
    before = fold(history)
    history.add("time.amended", NINE, received_at="2026-08-01T00:00", **amended(1, kind="meeting"))
    after = fold(history)

    assert after.version == before.version
    assert (codes(before.anomalies), codes(after.anomalies)) == ([], ["revision_conflict"])


def test_a_fact_of_another_kind_is_a_broken_promise():
    history = History()
    fact = history.add("task.started", SENT, task_id="task-1")

    with pytest.raises(TypeError, match=r"turnsheet\.task\.started\.v1 is no event of an entry"):
        fold_entry([fact])


@settings(max_examples=300)
@given(data=st.data(), facts=entry_histories())
def test_any_order_and_duplication_of_a_history_folds_to_the_same_entry(data, facts):
    other = data.draw(shuffled_and_doubled(facts))

    assert fold_entry(other) == fold_entry(facts)


@settings(max_examples=200)
@given(facts=entry_histories())
def test_a_retracted_event_was_never_sent(facts):
    sent = [fact for fact in facts if not isinstance(fact.data, EventRetracted)]
    target = sent[-1]
    spent = (target.source, target.id)
    history = History(list(sent))
    history.retract(target, DAY_ONE, event_id="by-admin", principal=ADMIN)

    without = [fact for fact in sent if (fact.source, fact.id) != spent]

    assert fold_entry(history.facts) == fold_entry(without)


@settings(max_examples=200)
@given(facts=entry_histories(), later=st.integers(1, 9))
def test_the_version_does_not_depend_on_when_facts_were_received(facts, later):
    """Unless receipt decides a conflict, which is what it is for."""
    unconflicted = list({(fact.source, fact.id): fact for fact in facts}.values())
    delayed = [
        replace(fact, received_at=fact.received_at + timedelta(days=later)) for fact in unconflicted
    ]

    one, two = fold_entry(unconflicted), fold_entry(delayed)

    assert (one and one.version) == (two and two.version)
