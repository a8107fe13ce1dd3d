"""The simulated month: deterministic, lawful, lively."""

import csv
import io
import json
from collections import Counter
from datetime import date, datetime
from itertools import pairwise

import pytest

from schemas.envelope import read_event
from services.demo.exports import CLOCKIFY_COLUMNS, TOGGL_COLUMNS, clockify_csv, toggl_csv
from services.demo.workload import simulate

JULY = date(2026, 7, 1)


@pytest.fixture(scope="module")
def workload():
    return simulate(firm_count=4, month_count=1, seed=7, first_day=JULY)


def types_of(workload):
    return Counter(json.loads(sent.body)["type"].split(".", 1)[1] for sent in workload.events)


def test_equal_arguments_give_equal_bytes(workload):
    assert simulate(4, 1, 7, JULY) == workload
    assert simulate(4, 1, 8, JULY).events != workload.events


def test_every_event_is_one_that_the_door_takes(workload):
    for sent in (*workload.directory, *workload.events):
        read_event(sent.body)


def test_firms_sit_in_four_zones_and_assistants_in_six_countries(workload):
    assert len({firm.zone for firm in workload.world.firms}) == 4
    assert {p.desk.country for p in workload.world.placements} == {
        "PH",
        "IN",
        "MX",
        "CO",
        "CR",
        "AR",
    }
    assert {p.tool for p in workload.world.placements} == {"tracker", "toggl", "clockify"}
    phases = {phase for p in workload.world.placements for _, phase in p.phases}
    assert phases == {"trial", "shadow", "active"}


def test_every_kind_of_thing_happens(workload):
    happened = types_of(workload)
    expected = {
        "task.requested", "task.assigned", "task.acknowledged", "task.started", "task.held",
        "task.resumed", "task.submitted", "task.cancelled", "task.reopened", "review.completed",
        "defect.reported", "escalation.raised", "escalation.acknowledged", "escalation.resolved",
        "timer.started", "timer.stopped", "time.recorded", "time.amended", "time.voided",
        "event.retracted",
    }  # fmt: skip
    assert {name.removesuffix(".v1") for name in happened} == expected
    requested = [json.loads(s.body)["data"] for s in workload.events if b"task.requested" in s.body]
    assert len({data["task_type"] for data in requested}) == 8


def test_some_events_come_twice_late_and_out_of_order(workload):
    bodies = Counter(sent.body for sent in workload.events)
    assert sum(count > 1 for count in bodies.values()) > 50
    times = [datetime.fromisoformat(json.loads(s.body)["time"]) for s in workload.events]
    assert any(b < a for a, b in pairwise(times))
    delays = [
        (s.sent_at - at).days
        for s, at in zip(workload.events, times, strict=True)
        if b"time.recorded" in s.body
    ]
    assert max(delays) >= 12


def test_no_hour_has_two_sources(workload):
    tool_ids = {row.placement.placement_id for row in workload.tool_rows}
    with_entries = {
        data["placement_id"]
        for sent in workload.events
        if "entry_id" in (data := json.loads(sent.body)["data"])
    }
    assert tool_ids
    assert tool_ids & with_entries == set()


def test_an_assistant_does_one_thing_at_a_time(workload):
    spans: dict[str, list[tuple[datetime, datetime]]] = {}
    for row in workload.tool_rows:
        spans.setdefault(row.placement.assistant_id, []).append((row.started_at, row.ended_at))
    for rows in spans.values():
        rows.sort()
        assert all(a_end <= b_start for (_, a_end), (b_start, _) in pairwise(rows))


@pytest.mark.parametrize(
    ("write", "columns"), [(toggl_csv, TOGGL_COLUMNS), (clockify_csv, CLOCKIFY_COLUMNS)]
)
def test_an_export_has_the_columns_of_its_tool(workload, write, columns):
    rows = list(csv.reader(io.StringIO(write(workload.tool_rows))))
    assert rows[0] == columns.split(",")
    assert len(rows) == len(workload.tool_rows) + 1
    assert {len(row) for row in rows} == {len(rows[0])}
