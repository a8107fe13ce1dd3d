"""The fold of a task: lawful moves, what belongs together, and that order decides nothing."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.directory import Directory, fold_firm, fold_placement
from schemas.facts import Cut
from services.metrics.escalations import fold_escalation
from services.metrics.pairs import Pair, pair
from services.metrics.records import CLOSED, OPEN, TASK, Hold, Placed, PlacedTask, Review, Start
from services.metrics.seen import PAUSES, Sight, columns_of
from services.metrics.tasks import MOVES, fold_task, place_task
from tests.cpu import times_longer
from tests.metrics.stories import WORDS, folded, minute, seen, task_of, tell
from tests.schemas.histories import (
    DAY_ONE,
    PLACEMENTS,
    History,
    codes,
    envelopes,
    firm_facts,
    moved,
    placement_facts,
    whole_log,
    with_retractions,
    without_positions,
)

NOWHERE = Placed("plc-1", False, None, None, None, None, None)

STORIES = [
    # the straight way
    ("requested assigned acknowledged started submitted reviewed", "accepted", []),
    ("requested submitted reviewed", "accepted", []),
    ("requested started", "in_progress", []),
    ("requested reassigned started", "in_progress", []),
    ("requested assigned reassigned", "assigned", []),
    ("requested reassigned", "assigned", []),
    ("requested submitted reassigned", "submitted", []),
    # holds
    ("requested started held", "on_hold", []),
    ("requested started held resumed", "in_progress", []),
    ("requested held resumed", "requested", []),
    ("requested started held submitted", "submitted", []),
    ("requested started held submitted resumed", "submitted", []),
    ("requested started resumed", "in_progress", ["hold_unmatched"]),
    ("requested started held held resumed", "in_progress", ["hold_repeated"]),
    ("requested started held started", "on_hold", ["impossible_move"]),
    ("requested started submitted held", "submitted", ["impossible_move"]),
    # reviews
    ("requested submitted timeout", "accepted", []),
    ("requested reviewed submitted", "accepted", ["review_before_submission"]),
    ("requested reviewed", "requested", ["impossible_move", "review_without_submission"]),
    ("requested submitted reviewed reviewed", "accepted", ["impossible_move"]),
    ("requested submitted submitted", "submitted", ["attempt_repeated", "impossible_move"]),
    # closed, and open again
    ("requested cancelled", "cancelled", []),
    ("requested submitted cancelled", "cancelled", []),
    ("requested submitted reviewed cancelled", "accepted", ["impossible_move"]),
    ("requested cancelled started", "cancelled", ["impossible_move"]),
    ("requested cancelled acknowledged", "cancelled", ["impossible_move"]),
    ("requested cancelled submitted", "cancelled", ["impossible_move"]),
    ("requested cancelled reopened", "in_progress", []),
    ("requested reopened", "requested", ["impossible_move"]),
    ("requested submitted reviewed reopened started", "in_progress", []),
    # told without the beginning
    ("started", "in_progress", []),
    ("submitted reviewed", "accepted", []),
    ("requested requested", "requested", ["request_repeated"]),
    # escalations
    ("requested started raised seen resolved", "in_progress", []),
    ("requested resolved", "requested", ["escalation_unmatched"]),
    ("requested seen", "requested", ["escalation_unmatched"]),
    ("requested raised raised", "requested", ["escalation_repeated"]),
    ("requested defect defect", "requested", ["defect_repeated"]),
]


@pytest.mark.parametrize(("story", "state", "anomalies"), STORIES, ids=[s[0] for s in STORIES])
def test_a_story_ends_in_its_state_and_says_what_was_odd(story, state, anomalies):
    task = task_of(*enumerate(story.split()))
    assert (task.state, codes(task.anomalies)) == (state, anomalies)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ("accepted", "accepted"),
        ("accepted_with_corrections", "accepted"),
        ("changes_requested", "changes_requested"),
        ("rejected", "rejected"),
    ],
)
def test_a_review_moves_a_submitted_task_by_its_outcome(outcome, state):
    task = task_of((0, "requested"), (1, "submitted"), (2, "reviewed", {"outcome": outcome}))
    assert task.state == state
    assert task.accepted_at == (minute(2) if state == "accepted" else None)


def test_a_closed_task_moves_only_by_a_reopening():
    assert {word for word, moves in MOVES.items() if CLOSED & moves.keys()} == {
        "turnsheet.task.reopened.v1"
    }


def test_the_whole_way_with_a_second_attempt():
    task = task_of(
        (0, "requested", {"due_at": minute(90), "workflow_ref": "wf", "matter_ref": "m-1"}),
        (1, "assigned"),
        (2, "acknowledged", {"attempt": 1}),
        (3, "started", {"attempt": 1}),
        (10, "submitted"),
        (20, "reviewed", {"outcome": "changes_requested", "correction_minutes": 5}),
        (25, "started", {"attempt": 2}),
        (30, "submitted", {"attempt": 2}),
        (40, "reviewed", {"attempt": 2}),
        (50, "reopened"),
    )
    assert [(change.state, change.since) for change in task.states] == [
        ("requested", minute(0)),
        ("assigned", minute(1)),
        ("in_progress", minute(3)),
        ("submitted", minute(10)),
        ("changes_requested", minute(20)),
        ("in_progress", minute(25)),
        ("submitted", minute(30)),
        ("accepted", minute(40)),
        ("in_progress", minute(50)),
    ]
    assert (task.requested_at, task.due_at) == (minute(0), minute(90))
    assert (task.first_worked_at, task.first_submitted_at) == (minute(3), minute(10))
    assert (task.accepted_at, task.anomalies) == (None, ())
    assert task.acknowledgements == (Start(minute(2), 1),)
    assert task.starts == (Start(minute(3), 1), Start(minute(25), 2))
    assert task.first_review == Review(
        1, minute(20), "changes_requested", "attorney", "att-1", "attorney", None, 5
    )
    assert [seen(task, NOWHERE).state_at(minute(n)) for n in (-1, 0, 9, 10, 45, 99)] == [
        None,
        "requested",
        "in_progress",
        "submitted",
        "accepted",
        "in_progress",
    ]


def test_a_review_stamped_before_its_submission_counts_at_that():
    task = task_of((0, "requested"), (4, "reviewed"), (5, "submitted"))
    assert (task.accepted_at, task.reviews[0].at) == (minute(5), minute(5))


def test_a_review_at_the_instant_of_its_submission_is_not_before_it():
    task = task_of((0, "requested"), (5, "reviewed"), (5, "submitted"))
    assert (task.accepted_at, task.anomalies) == (minute(5), ())


def test_submissions_are_told_by_attempt_whenever_each_came():
    task = task_of((0, "requested"), (1, "submitted", {"attempt": 2}), (2, "submitted"))
    assert [(one.attempt, one.at) for one in task.submissions] == [(1, minute(2)), (2, minute(1))]
    assert task.first_submitted_at == minute(1)


def test_a_review_of_an_earlier_attempt_counts_and_moves_nothing():
    task = task_of(
        (0, "requested"),
        (1, "submitted"),
        (2, "reviewed", {"outcome": "changes_requested"}),
        (3, "submitted", {"attempt": 2}),
        (4, "reviewed", {"outcome": "accepted", "review_mode": "qa_sample"}),
    )
    assert (task.state, codes(task.anomalies)) == ("submitted", ["impossible_move"])
    assert [review.outcome for review in task.reviews] == ["changes_requested", "accepted"]


# Accepted by nobody in time, reopened, and handed in again.
SECOND_ATTEMPT = (
    (0, "requested"),
    (1, "submitted"),
    (2, "timeout"),
    (3, "reopened"),
    (4, "submitted", {"attempt": 2}),
)


def test_a_timeout_that_a_person_overtook_is_as_never_sent():
    late = task_of(
        (0, "requested"),
        (1, "submitted"),
        (2, "timeout"),
        (3, "reviewed", {"outcome": "changes_requested"}),
    )
    never = task_of(
        (0, "requested"), (1, "submitted"), (3, "reviewed", {"outcome": "changes_requested"})
    )
    assert (late, late.anomalies) == (never, ())


def test_a_timeout_of_another_attempt_stays():
    task = task_of(
        *SECOND_ATTEMPT,
        (5, "reviewed", {"attempt": 2}),
    )
    assert [review.mode for review in task.reviews] == ["auto_timeout", "attorney"]
    assert task.first_review == task.reviews[1]
    assert task.anomalies == ()


HOLDS = [
    ("a pair", [(1, "held"), (4, "resumed")], [(1, 4)]),
    ("still open", [(1, "held")], [(1, None)]),
    ("ended by a submission", [(1, "held"), (3, "submitted"), (5, "resumed")], [(1, 3)]),
    ("closed before it opened: no time at all", [(1, "resumed"), (4, "held")], [(4, 4)]),
    ("closed at its own instant", [(4, "held"), (4, "resumed")], [(4, 4)]),
    (
        "twice under one id",
        [(1, "held"), (2, "resumed"), (3, "held"), (5, "resumed")],
        [(1, 2), (3, 5)],
    ),
    (
        "the next closing, not an earlier one",
        [(1, "resumed"), (2, "held"), (5, "resumed")],
        [(2, 5)],
    ),
    ("opened again inside itself", [(1, "held"), (2, "held"), (5, "resumed")], [(1, 5)]),
    ("again after a submission", [(1, "held"), (2, "submitted"), (3, "held")], [(1, 2), (3, None)]),
]


@pytest.mark.parametrize(("name", "lines", "expected"), HOLDS, ids=[h[0] for h in HOLDS])
def test_a_hold_lasts(name, lines, expected):
    task = task_of((0, "requested"), *lines)
    assert task.holds == tuple(
        Hold("h", "waiting_on_client", minute(since), None if until is None else minute(until))
        for since, until in expected
    )


def test_two_holds_at_once_are_over_with_the_last():
    lines = [
        (0, "requested"),
        (1, "started"),
        (2, "held", {"hold_id": "a"}),
        (3, "held", {"hold_id": "b", "reason": "waiting_on_agency"}),
        (4, "resumed", {"hold_id": "a"}),
    ]
    assert task_of(*lines).state == "on_hold"
    whole = task_of(*lines, (5, "resumed", {"hold_id": "b", "reason": "waiting_on_firm"}))
    assert (whole.state, whole.anomalies) == ("in_progress", ())
    assert [(hold.hold_id, hold.reason) for hold in whole.holds] == [
        ("a", "waiting_on_client"),
        ("b", "waiting_on_agency"),
    ]


def test_a_hold_that_a_submission_ended_holds_nothing_later():
    task = task_of(
        (0, "requested"),
        (1, "held", {"hold_id": "a"}),
        (2, "submitted"),
        (3, "reviewed", {"outcome": "changes_requested"}),
        (4, "held", {"hold_id": "b"}),
        (5, "resumed", {"hold_id": "b"}),
    )
    assert (task.state, task.anomalies) == ("changes_requested", ())


def test_an_escalation_pauses_until_resolved_or_submitted():
    task = task_of(
        (0, "requested"),
        (1, "raised", {"blocking": True}),
        (2, "seen", {"handling_minutes": 3}),
        (3, "submitted"),
        (5, "resolved", {"disposition": "unnecessary", "handling_minutes": 4}),
        (6, "raised", {"escalation_id": "y", "category": "access"}),
    )
    one, other = task.escalations
    assert (one.raised_at, one.acknowledged_at, one.resolved_at, one.pause_ended_at) == (
        minute(1),
        minute(2),
        minute(5),
        minute(3),
    )
    assert (one.blocking, one.disposition, one.handling_minutes) == (True, "unnecessary", 7)
    assert (other.category, other.acknowledged_at, other.pause_ended_at) == ("access", None, None)


def test_a_defect_without_an_attempt_is_of_the_latest_submitted_before():
    task = task_of(
        (0, "requested"),
        (1, "defect", {"defect_id": "d0"}),
        (2, "submitted"),
        (3, "reviewed", {"outcome": "changes_requested"}),
        (4, "submitted", {"attempt": 2}),
        (5, "defect", {"defect_id": "d1"}),
        (6, "defect", {"defect_id": "d2", "attempt": 1}),
    )
    assert [(defect.defect_id, defect.attempt) for defect in task.defects] == [
        ("d0", None),
        ("d1", 2),
        ("d2", 1),
    ]


def test_a_task_belongs_to_its_latest_assignment_then_to_its_request():
    assert task_of((0, "requested"), (1, "started", {"placement_id": "plc-2"})).placement_id == (
        "plc-1"
    )
    moved_on = task_of(
        (0, "requested"),
        (1, "assigned", {"placement_id": "plc-2"}),
        (3, "reassigned", {"placement_id": "plc-3"}),
        (2, "reassigned", {"placement_id": "plc-4"}),
    )
    assert moved_on.placement_id == "plc-3"
    assert task_of((0, "started", {"placement_id": "plc-5"})).placement_id == "plc-5"
    early = task_of((0, "defect", {"placement_id": "plc-6"}), (1, "requested"))
    assert early.placement_id == "plc-1"


def test_work_told_of_a_placement_that_the_task_was_never_meant_for_is_left_out():
    foreign = {"placement_id": "plc-9"}
    task = task_of(
        (0, "requested"),
        (1, "assigned", {"placement_id": "plc-2"}),
        (2, "started", foreign),
        (3, "submitted", foreign),
        (4, "submitted", {"placement_id": "plc-2"}),
    )
    assert (task.starts, [one.at for one in task.submissions]) == ((), [minute(4)])
    assert (task.state, codes(task.anomalies)) == ("submitted", ["other_placement"] * 2)
    assert task_of((0, "requested"), (1, "held", foreign)).holds == ()
    assert len(task_of((0, "started", foreign), (1, "submitted")).submissions) == 1
    judged = task_of((0, "requested"), (1, "submitted"), (2, "reviewed", foreign))
    assert (judged.state, judged.anomalies) == ("accepted", ())


def received(task_facts, *minutes):
    """Have facts received at given minutes, whatever times they claim."""
    return [
        replace(fact, received_at=minute(number))
        for fact, number in zip(task_facts, minutes, strict=True)
    ]


@pytest.mark.parametrize("assigned", [True, False])
@pytest.mark.parametrize("claimed", [-1, 65])
def test_nobody_takes_a_task_over_by_asking_for_it_anew(assigned, claimed):
    foreign = {"placement_id": "plc-9"}
    honest = tell(
        (60, "requested"),
        *([(62, "assigned", {})] if assigned else []),
        (70, "started"),
        (300, "submitted"),
    )
    taking = tell(
        (claimed, "requested", foreign | {"task_type": "intake"}),
        (66, "submitted", foreign),
        (67, "raised", foreign | {"blocking": True}),
    )
    taking = [replace(fact, id=f"taking-{fact.id}") for fact in taking]
    alone = folded(received(honest, *range(len(honest))))
    task = folded(received(honest + taking, *range(len(honest) + len(taking))))
    assert replace(task, anomalies=()) == alone
    assert (task.placement_id, task.requested_at) == ("plc-1", minute(60))
    assert (task.states[0].since, task.first_submitted_at) == (minute(60), minute(300))
    assert codes(task.anomalies) == ["other_placement", "other_placement", "request_repeated"]


def test_nobody_takes_an_escalation_over():
    history = History()
    history.add("escalation.raised", minute(5), escalation_id="x", category="ambiguity")
    history.add(
        "escalation.raised",
        minute(1),
        received_at=minute(6),
        escalation_id="x",
        category="ambiguity",
        placement_id="plc-9",
    )
    found = fold_escalation(history.facts, directory_of())
    assert found is not None
    assert found.place.placement_id == "plc-1"
    assert [one.raised_at for one in found.escalations] == [minute(5)]
    assert codes(found.anomalies) == ["other_placement"]


def test_instants_are_cut_to_whole_seconds():
    due_at = minute(9) + timedelta(milliseconds=999)
    facts = tell((0, "requested", {"due_at": due_at}), (1, "submitted"))
    shifted = [replace(fact, time=fact.time + timedelta(milliseconds=999)) for fact in facts]
    task = folded(shifted)
    assert (task.requested_at, task.first_submitted_at) == (minute(0), minute(1))
    assert task.due_at == minute(9)
    assert [change.since for change in task.states] == [minute(0), minute(1)]


def test_a_cut_sees_what_was_known_then():
    facts = tell((0, "requested"), (1, "submitted"), (2, "reviewed"))
    assert folded(facts, whole_log(facts, minute(1))).state == "submitted"
    assert folded(facts, whole_log(facts[:1])).state == "requested"
    assert fold_task(facts, Cut()) is None


def test_nothing_stands_of_a_task_whose_only_event_was_taken_back():
    history = History()
    fact = history.add("task.started", DAY_ONE, task_id="task-1")
    history.retract(fact, DAY_ONE)
    assert fold_task(history.facts) is None


def directory_of(*changes, **placement):
    """A firm in New York and one placement, with changes of its attributes."""
    history = History()
    firm_facts(history)
    placement_facts(history, **placement)
    for name, data in changes:
        history.add(name, DAY_ONE, **data)
    by_kind = [
        [f for f in history.facts if f.entity.kind == kind] for kind in ("firm", "placement")
    ]
    found = fold_placement(by_kind[1])
    assert found is not None
    return Directory(fold_firm(by_kind[0]), {found.placement_id: found})


def test_a_task_is_placed_by_the_local_date_of_its_request():
    """At 03:30 UTC of the second it is still the first in New York."""
    directory = directory_of(
        ("placement.phase_changed", {"phase": "trial", "effective_date": "2026-07-02"}),
        ("placement.country_changed", {"country": "MX", "effective_date": "2026-07-02"}),
        ("placement.role_changed", {"role": "paralegal", "effective_date": "2026-07-02"}),
    )
    for at, phase, country, role in (
        (15.5 * 60, "active", "PH", "legal_assistant"),
        (16.5 * 60, "trial", "MX", "paralegal"),
    ):
        place = place_task(task_of((at, "requested")), directory).place
        assert (place.phase, place.country, place.role) == (phase, country, role)
        assert (place.assistant_id, place.is_known) == ("asst-1", True)


def test_a_task_of_a_placement_that_nobody_told_of_is_of_no_phase():
    placed = place_task(task_of((0, "requested", {"placement_id": "plc-9"})), directory_of())
    place = placed.place
    assert (place.is_known, place.phase, place.assistant_id, place.placement_id) == (
        False,
        None,
        None,
        "plc-9",
    )


def test_a_task_type_that_the_placement_was_not_given_is_marked():
    directory = directory_of(allowed_task_types=["intake"])
    wrong = place_task(task_of((0, "requested")), directory)
    right = place_task(task_of((0, "requested", {"task_type": "intake"})), directory)
    assert (wrong.is_type_allowed, right.is_type_allowed) == (False, True)
    assert place_task(task_of((0, "requested")), directory_of()).is_type_allowed
    assert place_task(task_of((0, "started")), directory).is_type_allowed  # of no type yet


def test_a_placed_task_comes_back_from_json_as_it_was():
    placed = place_task(
        task_of((0, "requested"), (1, "held"), (2, "raised"), (3, "submitted"), (3, "reviewed")),
        directory_of(),
    )
    assert TASK.validate_json(TASK.dump_json(placed)) == placed


def test_an_escalation_about_no_task_is_an_entity_of_its_own():
    history = History()
    history.add("escalation.resolved", minute(9), disposition="needed", escalation_id="x-1")
    history.add("escalation.raised", minute(5), category="access", escalation_id="x-1")
    found = fold_escalation(history.facts, directory_of())
    assert found is not None
    assert (found.escalation_id, found.place.phase, found.anomalies) == ("x-1", "active", ())
    assert (found.escalations[0].raised_at, found.escalations[0].resolved_at) == (
        minute(5),
        minute(9),
    )
    unraised = fold_escalation(history.facts[:1], directory_of())
    assert unraised is not None
    assert (unraised.escalations, codes(unraised.anomalies)) == ((), ["escalation_unmatched"])
    assert fold_escalation([], directory_of()) is None


@st.composite
def task_histories(draw):
    """Facts of one task as they may come: impossible, contradictory, doubled and taken back."""
    history = History()
    for word in draw(st.lists(st.sampled_from(sorted(WORDS)), min_size=1, max_size=10)):
        more = {"placement_id": draw(PLACEMENTS)}
        if word in {"submitted", "reviewed", "timeout"}:
            more["attempt"] = draw(st.integers(1, 2))
        if word == "reviewed":
            more["outcome"] = draw(st.sampled_from(["accepted", "changes_requested", "rejected"]))
        if word in {"held", "resumed"}:
            more["hold_id"] = draw(st.sampled_from(["a", "b"]))
        name, data = WORDS[word]
        at = minute(draw(st.integers(0, 6)))
        history.add(name, at, task_id="task-1", **draw(envelopes()), **(data | more))
    return draw(with_retractions(history))


def test_the_pairs_of_one_id_may_be_many():
    paired = pair_many(20_000)
    assert paired.pairs[:2] == (Pair(20_000, 19_999), Pair(20_001, 19_998))
    assert paired.unmatched == ()
    # Ten times as many; to look at each for each would take a hundred times as long.
    assert times_longer(lambda: pair_many(20_000), lambda: pair_many(2_000)) < 40


def pair_many(count):
    return pair(range(count, 2 * count), range(count))


@given(task_histories(), st.data())
def test_any_order_and_any_doubling_gives_an_equal_task(facts, data):
    again = data.draw(st.lists(st.sampled_from(facts), max_size=6))
    shuffled = moved(data.draw(st.permutations([*facts, *again])))
    assert fold_task(shuffled) == fold_task(facts) == fold_task(without_positions(facts))


@given(task_histories())
def test_a_folded_task_is_in_order_with_itself(facts):
    task = fold_task(facts)
    if task is None:
        return
    since = [change.since for change in task.states]
    assert since == sorted(since)
    assert all(hold.ended_at is None or hold.started_at <= hold.ended_at for hold in task.holds)
    assert len({submission.attempt for submission in task.submissions}) == len(task.submissions)
    told = {(fact.source, fact.id) for fact in facts}
    assert {(anomaly.source, anomaly.id) for anomaly in task.anomalies} <= told


@given(task_histories(), st.integers(-10, 3_000))
def test_figures_see_of_a_stored_task_what_the_whole_of_it_says(facts, number):
    task = fold_task(facts)
    if task is None:
        return
    found = seen(task, NOWHERE, is_type_allowed=False)
    instant = minute(number)
    before = [change.state for change in task.states if change.since <= instant]
    first = task.first_outcome
    assert found._replace(states=()) == (
        task.task_id,
        NOWHERE,
        False,
        columns_of(task),
        task.due_at,
        task.first_review is not None,
        first is not None and first.outcome == "accepted",
        bool(task.escalations),
        (
            *((hold.started_at, hold.ended_at) for hold in task.holds if hold.reason in PAUSES),
            *((one.raised_at, one.pause_ended_at) for one in task.escalations if one.blocking),
        ),
        task.workflow_ref is not None,
        bool(task.anomalies),
        (),
    )
    assert found.state_at(instant) == (before[-1] if before else None)
    assert found.is_open_at(instant) == (found.state_at(instant) in OPEN)
    assert (found.columns.open_until is None) == (task.state in OPEN)


def test_equal_places_that_one_reader_sees_are_one_value():
    sight = Sight()
    written = [
        TASK.dump_json(PlacedTask(task_of((0, "requested")), replace(NOWHERE), True))
        for _ in range(2)
    ]
    one, other = (sight.see(columns_of(task_of((0, "requested"))), text) for text in written)
    assert one.place is other.place


def test_a_later_review_by_a_person_decides_before_an_earlier_timeout():
    task = task_of(
        *SECOND_ATTEMPT,
        (5, "reviewed", {"attempt": 2, "outcome": "changes_requested"}),
    )
    found = seen(task, NOWHERE)
    assert found.columns.first_reviewed_at == minute(5)
    assert (found.is_reviewed, found.is_first_pass) == (True, False)


def test_an_acknowledgement_answers_one_raising_of_an_escalation():
    task = task_of(
        (0, "requested"),
        (1, "raised"),
        (2, "seen", {"handling_minutes": 7}),
        (3, "resolved", {"disposition": "needed"}),
        (4, "raised"),
    )
    assert [(one.acknowledged_at, one.handling_minutes) for one in task.escalations] == [
        (minute(2), 7),
        (None, None),
    ]
