"""What stands of an entity's facts, and in which order."""

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import EventRetracted
from schemas.facts import Cut
from schemas.order import Anomaly, standing
from tests.schemas.histories import (
    ADMIN,
    DAY_ONE,
    OTHER_TRACKER,
    TASK,
    TRACKER,
    History,
    at,
    entry_histories,
    recorded,
    shuffled_and_doubled,
    whole_log,
    without_positions,
)

NOON = "2026-07-01T12:00"
REQUEST: dict[str, Any] = {"task_id": TASK, "task_type": "intake", "requested_by": "att-1"}
REVIEW: dict[str, Any] = {
    "task_id": TASK,
    "attempt": 1,
    "outcome": "accepted",
    "reviewer_id": "att-1",
    "reviewer_role": "attorney",
    "review_mode": "attorney",
}
DEFECT: dict[str, Any] = {
    "task_id": TASK,
    "defect_id": "d1",
    "severity": "minor",
    "category": "other",
    "found_stage": "review",
}
HOLD: dict[str, Any] = {"task_id": TASK, "hold_id": "h1", "reason": "waiting_on_firm"}
RAISED: dict[str, Any] = {"task_id": TASK, "escalation_id": "x1", "category": "ambiguity"}


def test_copies_are_one_fact_with_the_least_receipt_and_position():
    history = History()
    for receipt, principal in (("13:00", OTHER_TRACKER), ("12:01", TRACKER), ("12:30", TRACKER)):
        history.add(
            "time.recorded",
            NOON,
            event_id="a",
            received_at=f"2026-07-01T{receipt}",
            principal=principal,
            **recorded(),
        )

    stood = standing(history.facts)

    assert stood.anomalies == ()
    (fact,) = stood.facts
    assert (fact.received_at, fact.principal) == (at("2026-07-01T12:01"), TRACKER)
    assert fact.position == history.facts[0].position


def test_of_copies_received_at_one_instant_the_first_principal_is_told_whatever_their_order():
    history = History()
    for principal in (OTHER_TRACKER, TRACKER):
        history.add("time.recorded", NOON, event_id="a", principal=principal, **recorded())

    for facts in permutations(history.facts):
        (fact,) = standing(facts).facts
        assert fact.principal == min(TRACKER, OTHER_TRACKER)


def test_of_two_contents_the_first_received_counts_and_the_other_is_shown():
    history = History()
    history.add("time.recorded", NOON, event_id="a", **recorded(kind="rework"))
    first = history.add(
        "time.recorded", NOON, event_id="a", received_at="2026-07-01T11:59", **recorded()
    )

    stood = standing(history.facts)

    assert stood.facts == (first,)
    assert stood.anomalies == (Anomaly("conflict", first.source, "a"),)


def test_of_two_contents_received_at_one_instant_the_least_hash_counts():
    history = History()
    history.add("time.recorded", NOON, event_id="a", **recorded(kind="rework"))
    history.add("time.recorded", NOON, event_id="a", **recorded())

    least = min(history.facts, key=lambda fact: fact.content_hash)

    assert standing(history.facts).facts == (least,)
    assert standing(reversed(history.facts)).facts == (least,)


@pytest.mark.parametrize(
    ("principal", "codes"),
    [
        (TRACKER, []),
        (ADMIN, []),
        (OTHER_TRACKER, ["retraction_not_allowed"]),
    ],
)
def test_who_sent_the_target_or_an_admin_may_retract_it(principal, codes):
    history = History()
    target = history.add("time.recorded", NOON, **recorded())
    history.retract(target, NOON, principal=principal)

    stood = standing(history.facts)

    assert [anomaly.code for anomaly in stood.anomalies] == codes
    assert stood.facts == ((target,) if codes else ())


def test_who_sent_a_losing_or_a_later_copy_may_retract_too():
    for content in (recorded(), recorded(kind="meeting")):
        history = History()
        target = history.add("time.recorded", NOON, event_id="a", **recorded())
        history.add(
            "time.recorded",
            NOON,
            event_id="a",
            principal=OTHER_TRACKER,
            received_at="2026-07-02T12:00",
            **content,
        )
        history.retract(target, NOON, principal=OTHER_TRACKER)

        assert standing(history.facts) == standing([])


@pytest.mark.parametrize("received_at", ["2026-07-01T11:00", "2026-07-02T12:00"])
def test_nobody_takes_an_event_by_a_retraction_under_its_ids(received_at):
    history = History()
    target = history.add("time.recorded", NOON, event_id="a", **recorded())
    under_its_ids = {"event_id": "a", "principal": "firm:f", "received_at": received_at}
    history.retract(target, NOON, **under_its_ids)
    history.retract(target, NOON, event_id="r", principal="firm:f")

    stood = standing(history.facts)

    assert stood.facts == (target,)
    assert stood.anomalies == tuple(
        Anomaly("retraction_not_allowed", target.source, id_) for id_ in ("a", "r")
    )


def test_a_retracted_id_is_spent_for_ever():
    history = History()
    target = history.add("time.recorded", NOON, event_id="a", **recorded())
    history.retract(target, NOON)
    history.add(
        "time.recorded",
        "2026-07-03T12:00",
        event_id="a",
        **recorded(ended_at="2026-07-01T15:00:00Z"),
    )

    assert standing(history.facts) == standing([])


def test_a_retraction_of_nothing_or_of_a_retraction_is_shown_and_counts_for_nothing():
    history = History()
    target = history.add("time.recorded", NOON, event_id="a", **recorded())
    taken = history.retract(target, NOON, event_id="r1")
    history.retract(taken, NOON, event_id="r2")
    stray = history.add("time.recorded", NOON, event_id="b", **recorded(entry_id="ent-2"))
    history.facts.pop()
    history.add(
        "event.retracted",
        NOON,
        event_id="r3",
        placement_id=None,
        target_source=stray.source,
        target_id="b",
        entry_id="ent-1",
        reason="mistake",
    )

    stood = standing(history.facts)

    assert stood.facts == ()
    assert stood.anomalies == tuple(
        Anomaly("retraction_unmatched", target.source, id_) for id_ in ("r2", "r3")
    )


def test_a_conflict_of_retractions_is_decided_like_any_other():
    history = History()
    first = history.add("timer.started", NOON, event_id="a", entry_id="e", task_type="intake")
    second = history.add("timer.stopped", NOON, event_id="b", entry_id="e", task_type="intake")
    history.retract(second, NOON, event_id="r", received_at="2026-07-01T13:00")
    history.retract(first, NOON, event_id="r", received_at="2026-07-01T14:00")

    stood = standing(history.facts)

    assert stood.facts == (first,)
    assert stood.anomalies == (Anomaly("conflict", first.source, "r"),)


def test_a_retraction_gains_nothing_from_another_that_came_under_its_id():
    history = History()
    first = history.add("timer.started", NOON, event_id="a", entry_id="e", task_type="intake")
    second = history.add("timer.stopped", NOON, event_id="b", entry_id="e", task_type="intake")
    history.retract(
        first, NOON, event_id="r", principal=OTHER_TRACKER, received_at="2026-07-01T13:00"
    )
    history.retract(second, NOON, event_id="r", received_at="2026-07-01T14:00")

    stood = standing(history.facts)

    assert stood.facts == (first, second)
    assert stood.anomalies == tuple(
        Anomaly(code, first.source, "r") for code in ("conflict", "retraction_not_allowed")
    )


def test_at_one_instant_the_rank_of_the_type_decides():
    history = History()
    history.add("escalation.raised", NOON, **RAISED)
    history.add("task.cancelled", NOON, task_id=TASK, reason="withdrawn")
    history.add("task.reopened", NOON, task_id=TASK, reason="again")
    history.add("defect.reported", NOON, **DEFECT)
    history.add("review.completed", NOON, **REVIEW)
    history.add("task.submitted", NOON, task_id=TASK, attempt=1)
    history.add("task.held", NOON, **HOLD)
    history.add("task.resumed", NOON, **HOLD)
    history.add("task.started", NOON, task_id=TASK)
    history.add("task.acknowledged", NOON, task_id=TASK)
    history.add("task.reassigned", NOON, task_id=TASK, assistant_id="asst-2")
    history.add("task.assigned", NOON, task_id=TASK, assistant_id="asst-1")
    history.add("task.requested", NOON, **REQUEST)

    assert list(standing(history.facts).facts) == history.facts[::-1]


def test_the_order_is_time_rank_source_sequence_absent_first_and_id():
    history = History()
    started: dict[str, Any] = {"entry_id": "e", "task_type": "intake"}
    expected = [
        history.add("timer.stopped", "2026-07-01T11:59", event_source="/z", **started),
        history.add("timer.started", NOON, event_source="/a", event_id="z", **started),
        history.add("timer.started", NOON, event_source="/a", sequence=-5, event_id="y", **started),
        history.add("timer.started", NOON, event_source="/a", sequence=0, event_id="a", **started),
        history.add("timer.started", NOON, event_source="/a", sequence=0, event_id="b", **started),
        history.add("timer.started", "2026-07-01T14:00+02:00", event_source="/b", **started),
        history.add("timer.stopped", NOON, event_source="/a", **started),
    ]

    assert all(list(standing(order).facts) == expected for order in permutations(expected))


def test_only_what_lies_inside_the_cut_is_looked_at():
    history = History()
    target = history.add("time.recorded", NOON, event_id="a", **recorded())
    history.retract(target, NOON, event_id="r")

    before = Cut({("time-events", 0): 1})
    after = Cut({("time-events", 0): 2})
    elsewhere = Cut({("time-events", 1): 9})

    assert standing(history.facts, before).facts == (target,)
    assert standing(history.facts, after).facts == ()
    assert standing(history.facts, elsewhere) == standing([])


def test_an_event_timed_after_the_cut_drops_out_before_conflicts_are_decided():
    history = History()
    history.add("time.recorded", "2026-07-02T00:00", event_id="a", **recorded())
    early = history.add(
        "time.recorded", NOON, event_id="a", received_at="2026-07-05T00:00", **recorded()
    )
    history.retract(early, "2026-07-02T00:00", event_id="r")

    stood = standing(history.facts, whole_log(history.facts, at("2026-07-01T23:00")))

    assert (stood.facts, stood.anomalies) == ((early,), ())
    on_the_instant = whole_log(history.facts, at(NOON))
    assert standing(history.facts, on_the_instant).facts == (early,)


@settings(max_examples=300)
@given(data=st.data(), facts=entry_histories())
def test_any_order_and_duplication_of_a_history_stands_the_same(data, facts):
    other = data.draw(shuffled_and_doubled(facts))

    one, two = standing(facts), standing(other)

    assert without_positions(one.facts) == without_positions(two.facts)
    assert one.anomalies == two.anomalies


@settings(max_examples=200)
@given(facts=entry_histories(), cut_at=st.integers(0, 12), hours=st.integers(0, 20))
def test_a_cut_sees_what_a_log_that_ended_there_would_hold(facts, cut_at, hours):
    instant = DAY_ONE + timedelta(hours=hours)
    cut = Cut({("time-events", 0): cut_at}, instant)

    seen = [fact for fact in facts[:cut_at] if fact.time <= instant]

    assert standing(facts, cut) == standing(seen)


@settings(max_examples=200)
@given(facts=entry_histories())
def test_what_an_admin_retracts_was_never_sent(facts):
    sent = [fact for fact in facts if not isinstance(fact.data, EventRetracted)]
    target = sent[0]
    spent = (target.source, target.id)
    history = History(list(sent))
    history.retract(target, DAY_ONE, event_id="by-admin", principal=ADMIN)

    stood = standing(history.facts)

    assert stood == standing(fact for fact in sent if (fact.source, fact.id) != spent)
