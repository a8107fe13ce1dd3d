"""Entries cut at the firm's midnights and at their placement's start and end."""

from datetime import date
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.directory import Directory, fold_firm, fold_placement
from schemas.entries import Entry, fold_entry
from schemas.periods import Month, local_date
from schemas.segments import Segment, split
from tests.schemas.histories import (
    ENTRY,
    PLACEMENT,
    ZONE,
    History,
    at,
    directory_histories,
    entry_histories,
    firm_facts,
    placement_facts,
    recorded,
)

LOS_ANGELES = "America/Los_Angeles"
SENT = "2026-12-31T00:00"


def directory_of(history: History) -> Directory:
    """Fold the facts of one firm and of its placement, where there are any."""
    firm = fold_firm(fact for fact in history.facts if fact.entity.kind == "firm")
    placement = fold_placement(fact for fact in history.facts if fact.entity.kind == "placement")
    return Directory(firm, {placement.placement_id: placement} if placement else {})


def placed(timezone: str = ZONE, **changed: Any) -> History:
    history = History()
    firm_facts(history, timezone)
    placement_facts(history, **changed)
    return history


def entry_of(started_at: str | None, ended_at: str | None, source: str = "/t", **changed) -> Entry:
    history = History()
    content = recorded(started_at=started_at, ended_at=ended_at, **changed)
    history.add("time.recorded", SENT, event_source=source, **content)
    entry = fold_entry(history.facts)
    assert entry is not None
    return entry


def minutes(segments: tuple[Segment, ...]) -> list[tuple[str, int, str]]:
    return [(str(s.service_date), s.seconds // 60, s.standing) for s in segments]


@pytest.mark.parametrize(
    ("zone", "started_at", "ended_at", "expected"),
    [
        pytest.param(
            ZONE,
            "2026-03-08T01:00:00-05:00",
            "2026-03-08T04:00:00-04:00",
            [("2026-03-08", 120)],
            id="an hour is skipped",
        ),
        pytest.param(
            ZONE,
            "2026-11-01T00:30:00-04:00",
            "2026-11-01T03:30:00-05:00",
            [("2026-11-01", 240)],
            id="an hour comes twice",
        ),
        pytest.param(
            ZONE,
            "2026-11-01T01:30:00-04:00",
            "2026-11-01T01:15:00-05:00",
            [("2026-11-01", 45)],
            id="the stop shows an earlier clock",
        ),
        pytest.param(
            ZONE,
            "2026-08-01T09:00:00+08:00",
            "2026-08-01T15:00:00+08:00",
            [("2026-07-31", 180), ("2026-08-01", 180)],
            id="Manila, New York",
        ),
        pytest.param(
            LOS_ANGELES,
            "2026-08-01T09:00:00+08:00",
            "2026-08-01T15:00:00+08:00",
            [("2026-07-31", 360)],
            id="Manila, Los Angeles",
        ),
        pytest.param(
            ZONE,
            "2026-11-01T11:30:00+08:00",
            "2026-11-01T16:30:00+08:00",
            [("2026-10-31", 30), ("2026-11-01", 270)],
            id="Manila over the end of summer time",
        ),
        pytest.param(
            ZONE,
            "2026-07-01T22:00:00-04:00",
            "2026-07-03T02:00:00-04:00",
            [("2026-07-01", 120), ("2026-07-02", 1440), ("2026-07-03", 120)],
            id="two midnights",
        ),
        pytest.param(
            ZONE,
            "2026-07-01T22:00:00-04:00",
            "2026-07-02T00:00:00-04:00",
            [("2026-07-01", 120)],
            id="an end at midnight is no new date",
        ),
        pytest.param(
            "America/Santiago",
            "2026-09-06T03:00:00Z",
            "2026-09-06T05:00:00Z",
            [("2026-09-05", 60), ("2026-09-06", 60)],
            id="midnight is skipped",
        ),
    ],
)
def test_an_entry_is_cut_at_the_firms_midnights(zone, started_at, ended_at, expected):
    segments = split(entry_of(started_at, ended_at), directory_of(placed(zone)))

    assert minutes(segments) == [(day, length, "inside") for day, length in expected]


def test_the_last_second_of_march_is_march():
    """03:59:59Z on 1 April is New York's 31 March, 04:00:00Z its 1 April."""
    segments = split(
        entry_of("2026-04-01T03:59:59Z", "2026-04-01T04:00:01Z"), directory_of(placed())
    )

    assert [(Month.of(s.service_date), s.seconds) for s in segments] == [
        (Month(2026, 3), 1),
        (Month(2026, 4), 1),
    ]


def test_a_placement_that_ends_in_an_entry_leaves_the_rest_outside():
    history = placed()
    history.add("placement.ended", SENT, ended_at="2026-07-01T13:00:00-04:00")

    segments = split(
        entry_of("2026-07-01T12:30:00-04:00", "2026-07-01T14:00:00-04:00"), directory_of(history)
    )

    assert minutes(segments) == [
        ("2026-07-01", 30, "inside"),
        ("2026-07-01", 60, "outside_placement"),
    ]


def test_an_entry_that_reaches_from_a_placements_start_to_its_end_is_one_segment():
    history = placed(started_at="2026-07-01T13:00:00Z")
    history.add("placement.ended", SENT, ended_at="2026-07-01T14:00:00Z")
    directory = directory_of(history)

    whole = split(entry_of("2026-07-01T13:00:00Z", "2026-07-01T14:00:00Z"), directory)
    nothing_at_its_start = split(entry_of(*2 * ["2026-07-01T13:00:00Z"]), directory)
    nothing_at_its_end = split(entry_of(*2 * ["2026-07-01T14:00:00Z"]), directory)

    assert minutes(whole) == [("2026-07-01", 60, "inside")]
    assert minutes(nothing_at_its_start) == [("2026-07-01", 0, "inside")]
    assert minutes(nothing_at_its_end) == [("2026-07-01", 0, "outside_placement")]


def test_a_placement_that_starts_and_ends_in_an_entry_cuts_it_in_three():
    history = placed(started_at="2026-07-01T17:00:00Z")
    history.add("placement.ended", SENT, ended_at="2026-07-02T05:00:00Z")

    segments = split(
        entry_of("2026-07-01T16:00:00Z", "2026-07-02T06:00:00Z"), directory_of(history)
    )

    assert minutes(segments) == [
        ("2026-07-01", 60, "outside_placement"),
        ("2026-07-01", 660, "inside"),
        ("2026-07-02", 60, "inside"),
        ("2026-07-02", 60, "outside_placement"),
    ]
    assert [s.number for s in segments] == [1, 2, 3, 4]


def test_a_segment_says_all_about_its_date():
    history = placed(country="PH", phase="shadow")
    since: dict[str, Any] = {"effective_date": date(2026, 7, 2)}
    changes: dict[str, Any] = {"country": "MX", "role": "paralegal", "phase": "active"}
    for name, value in changes.items():
        history.add(f"placement.{name}_changed", SENT, **{name: value, **since})
    entry = entry_of(
        "2026-07-01T22:00:00-04:00",
        "2026-07-02T02:00:00-04:00",
        task_id="task-1",
        matter_ref="m-1",
        kind="rework",
        billable=False,
    )

    first, second = split(entry, directory_of(history))

    shared: dict[str, Any] = {
        "entry_id": ENTRY,
        "seconds": 7_200,
        "placement_id": PLACEMENT,
        "assistant_id": "asst-1",
        "task_type": "document_prep",
        "task_id": "task-1",
        "matter_ref": "m-1",
        "kind": "rework",
        "billable": False,
        "standing": "inside",
    }
    assert first == Segment(
        number=1,
        service_date=date(2026, 7, 1),
        started_at=at("2026-07-02T02:00:00Z"),
        ended_at=at("2026-07-02T04:00:00Z"),
        role="legal_assistant",
        country="PH",
        phase="shadow",
        **shared,
    )
    assert second == Segment(
        number=2,
        service_date=date(2026, 7, 2),
        started_at=at("2026-07-02T04:00:00Z"),
        ended_at=at("2026-07-02T06:00:00Z"),
        role="paralegal",
        country="MX",
        phase="active",
        **shared,
    )


@pytest.mark.parametrize(
    ("work_date", "standing"),
    [
        ("2026-06-30", "outside_placement"),
        ("2026-07-01", "inside"),
        ("2026-07-02", "inside"),
        ("2026-07-03", "inside"),
        ("2026-07-04", "outside_placement"),
    ],
)
def test_a_duration_is_one_segment_inside_when_the_placement_touches_its_date(work_date, standing):
    """The placement lives from the last minute of 1 July to the first of 3 July, New York."""
    history = placed(started_at="2026-07-01T23:59:00-04:00")
    history.add("placement.ended", SENT, ended_at="2026-07-03T00:01:00-04:00")
    entry = entry_of(None, None, work_date=work_date, duration_seconds=86_400)

    (segment,) = split(entry, directory_of(history))

    assert (segment.service_date, segment.seconds) == (date.fromisoformat(work_date), 86_400)
    assert (segment.started_at, segment.ended_at) == (None, None)
    assert segment.standing == standing


@pytest.mark.parametrize(
    ("ended_at", "standing"),
    [("2026-07-03T00:00:00-04:00", "outside_placement"), ("2026-07-03T00:00:01-04:00", "inside")],
)
def test_a_placement_that_ends_at_midnight_does_not_touch_the_new_date(ended_at, standing):
    history = placed()
    history.add("placement.ended", SENT, ended_at=ended_at)
    entry = entry_of(None, None, work_date="2026-07-03", duration_seconds=60)

    assert [s.standing for s in split(entry, directory_of(history))] == [standing]


def test_a_placement_that_ended_before_it_began_holds_nothing():
    history = placed(started_at="2026-07-01T12:00:00Z")
    history.add("placement.ended", SENT, ended_at="2026-07-01T11:00:00Z")
    day = entry_of(None, None, work_date="2026-07-01", duration_seconds=60)
    span = entry_of("2026-07-01T10:00:00Z", "2026-07-01T14:00:00Z")

    standings = {s.standing for e in (day, span) for s in split(e, directory_of(history))}

    assert standings == {"outside_placement"}


def test_time_of_an_unknown_placement_is_cut_at_the_firms_midnights_all_the_same():
    history = History()
    firm_facts(history)

    segments = split(
        entry_of("2026-07-02T02:00:00Z", "2026-07-02T05:00:00Z"), directory_of(history)
    )

    assert minutes(segments) == [
        ("2026-07-01", 120, "unknown_placement"),
        ("2026-07-02", 60, "unknown_placement"),
    ]
    assert {(s.assistant_id, s.role, s.country, s.phase) for s in segments} == {(None,) * 4}


def test_time_of_another_source_than_the_placements_on_that_date_stands_apart():
    history = placed()
    change: dict[str, Any] = {"source": "/connections", "effective_date": "2026-07-02"}
    history.add("placement.source_changed", SENT, **change)
    history.add("placement.ended", SENT, ended_at="2026-07-02T05:00:00Z")
    span = "2026-07-02T03:00:00Z", "2026-07-02T06:00:00Z"

    ours = split(entry_of(*span, source="/connections/toggl"), directory_of(history))
    other = split(entry_of(*span, source="/connections-2"), directory_of(history))

    assert [s.standing for s in ours] == ["inside", "inside", "outside_placement"]
    assert [s.standing for s in other] == ["inside", "other_source", "other_source"]


def test_an_entry_of_no_seconds_is_one_segment():
    for started_at, ended_at in (
        ("2026-07-01T13:00:00Z", "2026-07-01T13:00:00Z"),
        ("2026-07-01T13:00:00Z", "2026-06-28T13:00:00Z"),
    ):
        segments = split(entry_of(started_at, ended_at), directory_of(placed()))

        assert minutes(segments) == [("2026-07-01", 0, "inside")]


def test_what_is_open_void_or_of_an_unknown_firm_has_no_segments():
    timer = History()
    timer.add("timer.started", SENT, entry_id=ENTRY, task_type="intake")
    void = History()
    void.add("time.voided", SENT, entry_id=ENTRY, revision=1, reason="double")
    known, unknown = directory_of(placed()), Directory(None, {})

    for entry, directory in (
        (fold_entry(timer.facts), known),
        (fold_entry(void.facts), known),
        (entry_of("2026-07-01T13:00:00Z", "2026-07-01T14:00:00Z"), unknown),
    ):
        assert entry is not None
        assert split(entry, directory) == ()


@settings(max_examples=300)
@given(
    facts=entry_histories(),
    directory_facts=directory_histories(),
    zone=st.sampled_from([ZONE, LOS_ANGELES, "America/Phoenix"]),
)
def test_the_segments_of_an_entry_add_up_to_it_without_gap_or_overlap(facts, directory_facts, zone):
    history = History(list(directory_facts))
    firm_facts(history, zone, time="2026-01-01T00:00", event_id="registered")
    directory = directory_of(history)
    entry = fold_entry(facts)
    assume(entry is not None and entry.status == "closed")
    assert entry is not None
    assert directory.firm is not None

    segments = split(entry, directory)

    assert sum(s.seconds for s in segments) == entry.duration_seconds
    assert [s.number for s in segments] == list(range(1, len(segments) + 1))
    if entry.work_date is not None:
        assert [s.service_date for s in segments] == [entry.work_date]
        return
    edges = [edge for s in segments for edge in (s.started_at, s.ended_at)]
    assert (edges[0], edges[-1]) == (entry.started_at, entry.ended_at)
    assert edges[1:-1:2] == edges[2:-1:2]
    for segment in segments:
        assert segment.started_at is not None
        assert segment.service_date == local_date(segment.started_at, directory.firm.timezone)
        if placement := directory.placements.get(entry.placement_id):
            inside = placement.started_at <= segment.started_at and (
                placement.ended_at is None or segment.started_at < placement.ended_at
            )
            assert inside == (segment.standing != "outside_placement") or (
                segment.standing == "other_source"
            )
