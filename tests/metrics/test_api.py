"""Figures over HTTP: one event's way from the log to an answer, and who may see it."""

from datetime import UTC, date, datetime
from typing import get_args

from services.folding import rebuild
from services.metrics.answers import MetricName
from services.metrics.store import state_hash
from services.metrics.tables import TASK_TYPES
from tests.health import health
from tests.log import DIRECTORY, PLACEMENT, entry, event, of_firm

CALENDAR = event(
    "firm.calendar_changed",
    "d3",
    {
        "firm_id": "firm-1",
        "zone": "America/New_York",
        "slots": [{"weekday": n, "start": "09:00", "minutes": 480} for n in range(1, 6)],
        "closed_dates": ["2026-07-03"],
        "effective_date": "2026-01-01",
    },
    minutes=-60_000,
)
WEEK = "from=2026-06-29&to=2026-07-06"


def told(name, event_id, minutes, *, task="t-1", placement="pl-1", firm="firm-1", **data):
    """Write an event of a task, `minutes` after Wednesday, 1 July, ten in New York."""
    about = {"firm_id": firm, "placement_id": placement, "task_id": task}
    return event(name, event_id, about | data, minutes=minutes)


def requested(task="t-1", minutes=0.0, **data):
    return told(
        "task.requested",
        f"{task}-r",
        minutes,
        task=task,
        **{"task_type": "document_prep", "requested_by": "at-1", "workflow_ref": "wf"} | data,
    )


def submitted(task="t-1", minutes=90.0, attempt=1, **data):
    name = f"{task}-s{attempt}"
    return told("task.submitted", name, minutes, task=task, attempt=attempt, **data)


def reviewed(task="t-1", minutes=120.0, outcome="accepted", attempt=1, **data):
    review = {
        "attempt": attempt,
        "outcome": outcome,
        "reviewer_id": "at-1",
        "reviewer_role": "attorney",
        "review_mode": "attorney",
    }
    return told("review.completed", f"{task}-v{attempt}", minutes, task=task, **review | data)


STORY = (
    requested(),
    submitted(),
    reviewed(),
    requested("t-2", due_at="2026-07-02T09:00:00-04:00"),
    told("task.held", "t-2-h", 30, task="t-2", hold_id="h", reason="waiting_on_client"),
    told("task.resumed", "t-2-u", 60, task="t-2", hold_id="h", reason="waiting_on_client"),
    told("escalation.raised", "t-2-e", 40, task="t-2", escalation_id="x", category="ambiguity"),
    submitted("t-2", 7 * 60 + 60),
    reviewed("t-2", 8 * 60 + 60, "changes_requested"),
    requested("t-3", due_at="2026-07-01T12:00:00-04:00"),
    requested("t-4"),
    told("task.cancelled", "t-4-c", 10, task="t-4", reason="no_longer_needed"),
    entry("en-1", 45),
    entry("en-2", 30, at=13 * 60 + 45, task_type="intake"),  # 23:45 to 00:15 in New York
)


async def figures(house, token, query):
    reply = await house.get(token, f"/v1/firms/firm-1/metrics?{query}")
    assert reply.status == 200, reply.body
    return reply.body["figures"]


def brief(figure):
    return figure["metric"], figure["clock"], figure["n"], figure["value"]


async def test_a_task_on_the_log_becomes_a_turnaround_by_rest(house):
    await house.put([*DIRECTORY, CALENDAR], "admin:a")
    await house.put([requested(), submitted()])
    found = await figures(house, await house.token(), f"metric=turnaround&{WEEK}")
    assert [(f["clock"], f["n"], f["values"], f["insufficient"]) for f in found] == [
        ("wall", 1, [5_400], True),
        ("firm_business", 1, [5_400], True),
    ]
    assert found[0] == {
        "metric": "turnaround",
        "definition_version": 1,
        "phase": "active",
        "group": {},
        "from_date": "2026-06-29",
        "to_date": "2026-07-06",
        "anchor": "first_submitted_at",
        "unit": "seconds",
        "clock": "wall",
        "net": True,
        "calendar_version": None,
        "value": None,
        "n": 1,
        "numerator": None,
        "denominator": None,
        "interval": None,
        "percentiles": {"50": None, "90": None},
        "values": [5_400],
        "insufficient": True,
        "share_zero": 0.0,
        "excluded": {},
    }
    assert len(found[1]["calendar_version"]) == 64


async def test_every_first_figure_of_a_week(house):
    await house.put([*DIRECTORY, CALENDAR], "admin:a")
    await house.put(STORY)
    token = await house.token()
    names = "turnaround,first_pass_acceptance,escalation_rate,throughput,open_overdue"
    found = await figures(house, token, f"metric={names},hours_by_task_type&{WEEK}")
    assert [brief(figure) for figure in found] == [
        ("turnaround", "wall", 2, None),
        ("turnaround", "firm_business", 2, None),
        ("first_pass_acceptance", None, 2, 0.5),
        ("review_coverage", None, 2, 1.0),
        ("escalation_rate", None, 2, 0.5),
        ("throughput", None, 1, 1),
        ("open_overdue", None, 2, 2),
        ("hours_by_task_type", None, 1, 2_700),
        ("hours_by_task_type", None, 1, 1_800),
        ("hours", None, 2, 4_500),
    ]
    # 480 minutes from ten to six, 30 of them held; the office closes at five.
    assert found[0]["values"] == [5_400, 450 * 60]
    assert found[1]["values"] == [5_400, 390 * 60]
    assert found[0]["excluded"] == {"cancelled": 1}
    assert found[2]["interval"] == [0.094531, 0.905469]
    assert [f["group"] for f in found[7:9]] == [
        {"task_type": "document_prep"},
        {"task_type": "intake"},
    ]


async def test_hours_over_midnight_count_on_both_dates(house):
    await house.put(DIRECTORY, "admin:a")
    await house.put(STORY)
    query = "metric=hours&from=2026-07-01&to=2026-07-03&granularity=day"
    found = await figures(house, await house.token(), query)
    assert [(f["from_date"], f["value"], f["n"]) for f in found] == [
        ("2026-07-01", 2_700 + 900, 2),
        ("2026-07-02", 900, 1),
    ]


async def test_an_empty_period_says_null_with_n_0(house):
    await house.put([*DIRECTORY, CALENDAR], "admin:a")
    query = "metric=turnaround,first_pass_acceptance,hours,throughput&from=2025-01-01&to=2025-02-01"
    found = await figures(house, await house.token(), query)
    assert {brief(figure) for figure in found} == {
        ("turnaround", "wall", 0, None),
        ("turnaround", "firm_business", 0, None),
        ("first_pass_acceptance", None, 0, None),
        ("review_coverage", None, 0, None),
        ("hours", None, 0, None),
        ("throughput", None, 0, 0),
    }


async def test_phases_never_mix_and_unknown_placements_stand_apart(house):
    trial = event(
        "placement.phase_changed",
        "d4",
        {
            "firm_id": "firm-1",
            "placement_id": "pl-1",
            "phase": "trial",
            "effective_date": "2026-07-02",
        },
    )
    theirs = of_firm(PLACEMENT, "firm-2")  # pl-2, which is not known as a placement of firm-1
    await house.put([*DIRECTORY, trial, theirs], "admin:a")
    late = 24 * 60
    await house.put(
        [
            requested(),
            submitted(minutes=2 * late),
            requested("t-2", late),
            submitted("t-2", 2 * late),
            requested("t-3", placement="pl-2"),
            submitted("t-3", 60, placement="pl-2"),
        ]
    )
    token = await house.token()
    query = f"metric=turnaround&clock=wall&{WEEK}"
    both = await figures(house, token, query + "&phase=all")
    assert [(f["phase"], f["values"]) for f in both] == [
        ("active", [2 * late * 60]),
        ("shadow", []),
        ("trial", [late * 60]),
        ("unknown", [3_600]),
    ]
    assert [f["phase"] for f in await figures(house, token, query)] == ["active"]
    grouped = await figures(house, token, query + "&group_by=placement,phase")
    assert [(f["group"]["placement"], f["phase"]) for f in grouped] == [
        ("pl-1", "active"),
        ("pl-1", "trial"),
        ("pl-2", "unknown"),
    ]


async def test_the_tasks_behind_a_figure_come_page_by_page(house):
    await house.put([*DIRECTORY, CALENDAR], "admin:a")
    await house.put(STORY)
    token = await house.token()
    path = f"/v1/firms/firm-1/metrics/turnaround/tasks?{WEEK}&limit=2"
    first = await house.get(token, path)
    assert [(i["id"], i["seconds"], i["counts"], i["excluded"]) for i in first.body["items"]] == [
        ("t-4", None, False, "cancelled"),
        ("t-1", 5_400, True, None),
    ]
    link = first.headers["Link"]
    assert link.endswith('; rel="next"')
    second = await house.get(token, link[1 : link.index(">")])
    assert [(i["id"], i["seconds"]) for i in second.body["items"]] == [("t-2", 450 * 60)]
    assert (second.body["next"], "Link" in second.headers) == (None, False)
    business = await house.get(token, path + "&clock=firm_business&net=false&placement=pl-1")
    assert [i["seconds"] for i in business.body["items"]] == [None, 5_400]


async def test_the_drill_down_is_what_the_figure_was_made_of(house):
    await house.put([*DIRECTORY, CALENDAR], "admin:a")
    await house.put(STORY)
    token = await house.token()
    for figure in await figures(
        house,
        token,
        f"metric=turnaround,first_pass_acceptance,throughput,open_overdue,hours&{WEEK}",
    ):
        clock = f"&clock={figure['clock']}" if figure["clock"] else ""
        reply = await house.get(
            token, f"/v1/firms/firm-1/metrics/{figure['metric']}/tasks?{WEEK}{clock}"
        )
        items = reply.body["items"]
        counted = [item for item in items if item["counts"]]
        assert len({item["id"] for item in counted}) == figure["n"], figure["metric"]
        if figure["values"] is not None:
            assert sorted(item["seconds"] for item in counted) == figure["values"]
        assert len(items) - len(counted) == sum(figure["excluded"].values())


async def test_a_scorecard_shows_each_placement_and_the_firm(house):
    await house.put([*DIRECTORY, CALENDAR], "admin:a")
    await house.put(STORY)
    reply = await house.get(await house.token(), "/v1/firms/firm-1/scorecards/2026-W27")
    card = reply.body
    assert reply.status == 200
    assert (card["week"], card["from_date"], card["to_date"]) == (
        "2026-W27",
        "2026-06-29",
        "2026-07-06",
    )
    assert [(row["placement_id"], row["assistant_id"], row["phase"]) for row in card["firm"]] == [
        (None, None, "active"),
        (None, None, "shadow"),
        (None, None, "trial"),
    ]
    (row,) = card["placements"]
    assert (row["placement_id"], row["assistant_id"], row["phase"]) == ("pl-1", "as-1", "active")
    assert [brief(figure) for figure in row["figures"]] == [
        ("turnaround", "wall", 2, None),
        ("turnaround", "firm_business", 2, None),
        ("first_pass_acceptance", None, 2, 0.5),
        ("review_coverage", None, 2, 1.0),
        ("escalation_rate", None, 2, 0.5),
        ("throughput", None, 1, 1),
        ("open_overdue", None, 2, 2),
        ("hours", None, 2, 4_500),
    ]
    assert [f["value"] for f in row["hours_by_task_type"]] == [2_700, 1_800]
    assert {f["metric"] for f in row["pooled"]} == {
        "turnaround",
        "first_pass_acceptance",
        "escalation_rate",
    }
    assert card["notices"] == {
        "requested": 4,
        "anomalies": 0,
        "without_workflow": 0,
        "outside_allowed": 0,
        "unknown_placements": 0,
    }


async def test_a_placement_without_work_still_has_its_row(house):
    await house.put(DIRECTORY, "admin:a")
    reply = await house.get(await house.token(), "/v1/firms/firm-1/scorecards/2026-W27")
    assert [
        (row["placement_id"], row["phase"], {figure["n"] for figure in row["figures"]})
        for row in reply.body["placements"]
    ] == [("pl-1", "active", {0})]


async def test_an_unchanged_answer_is_not_sent_twice_and_a_changed_one_is(house):
    await house.put(DIRECTORY, "admin:a")
    await house.put([requested(), submitted()])
    token = await house.token()
    path = f"/v1/firms/firm-1/metrics?metric=turnaround&{WEEK}"
    begun = datetime.now(UTC)
    for _ in range(2):  # a minute that ends between two answers makes them differ, but only once
        first = await house.get(token, path)
        again = await house.get(token, path, If_None_Match=first.headers["ETag"])
        if again.status == 304:
            break
    assert again.status == 304
    instant = datetime.fromisoformat(first.body["data_as_of"]["instant"])
    assert begun.replace(second=0, microsecond=0) <= instant <= datetime.now(UTC)
    assert (instant.second, instant.microsecond) == (0, 0)
    assert first.body["data_as_of"]["positions"] == [
        {"topic": house.settings.topic("directory"), "partition": 0, "next": 2},
        {"topic": house.settings.topic("task-events"), "partition": 0, "next": 2},
    ]
    await house.put([reviewed()])
    changed = await house.get(token, path, If_None_Match=first.headers["ETag"])
    assert changed.status == 200
    assert changed.headers["ETag"] != first.headers["ETag"]


async def test_a_foreign_firm_is_as_one_that_does_not_exist(house):
    await house.put(DIRECTORY, "admin:a")
    mine, other = await house.token(), await house.token(firms=("firm-2",))
    for path in (
        f"/v1/firms/firm-1/metrics?metric=turnaround&{WEEK}",
        f"/v1/firms/firm-1/metrics/turnaround/tasks?{WEEK}",
        "/v1/firms/firm-1/scorecards/2026-W27",
    ):
        foreign = await house.get(other, path)
        missing = await house.get(mine, path.replace("firm-1", "firm-0"))
        assert (foreign.status, foreign.body) == (404, missing.body)
        unregistered = await house.get(other, path.replace("firm-1", "firm-2"))
        assert (unregistered.status, unregistered.body) == (404, missing.body)
        assert (await house.get(None, path)).status == 401
        assert (await house.get(await house.token("tracker"), path)).status == 403


async def test_the_office_reads_every_firm_on_record(house):
    await house.put(DIRECTORY, "admin:a")
    finance = await house.token("finance", ("*",))
    assert await figures(house, finance, f"metric=turnaround&{WEEK}")
    unknown = f"/v1/firms/firm-0/metrics?metric=turnaround&{WEEK}"
    assert (await house.get(finance, unknown)).status == 404
    found = await house.conn.fetch("select firm_id, actor, action from audit")
    assert [tuple(row) for row in found] == [("firm-1", "finance:one", "read_metrics")]


async def test_what_cannot_be_asked_is_told_so(house):
    await house.put(DIRECTORY, "admin:a")
    token = await house.token()
    cases = {
        f"metrics?metric=charm&{WEEK}": "/query/metric/0",
        f"metrics?{WEEK}": "/query/metric",
        "metrics?metric=hours&from=2026-07-02&to=2026-07-02": "/query",
        "metrics?metric=hours&from=2022-07-02&to=2026-07-02": "/query",
        "metrics?metric=hours&from=2025-01-01&to=2026-07-01&granularity=day": "/query",
        "metrics?metric=hours&from=yesterday&to=2026-07-02": "/query/from",
        "metrics?metric=hours&from=1782864000&to=2026-07-02": "/query/from",
        f"metrics?metric=hours&{WEEK}&group_by=matter_ref": "/query/group_by/0",
        f"metrics?metric=hours&{WEEK}&clock=sundial": "/query/clock/0",
        f"metrics?metric=hours&{WEEK}&phase=secret": "/query/phase/0",
        f"metrics?metric=hours&{WEEK}&percentiles=100": "/query/percentiles/0",
        f"metrics?metric=hours&{WEEK}&compare=previous": "/query/compare",
        f"metrics/charm/tasks?{WEEK}": "/path/metric",
        f"metrics/hours/tasks?{WEEK}&cursor=x": "/query/cursor",
        f"metrics/hours/tasks?{WEEK}&cursor=WzEsMiwzLDRd": "/query/cursor",
        f"metrics/hours/tasks?{WEEK}&limit=501": "/query/limit",
        "scorecards/2026-W54": "/path/iso_week",
        "scorecards/2026-28": "/path/iso_week",
        "scorecards/0001-W01": "/path/iso_week",
        "scorecards/9999-W52": "/path/iso_week",
    }
    for path, pointer in cases.items():
        reply = await house.get(token, f"/v1/firms/firm-1/{path}")
        assert (reply.status, reply.body["errors"][0]["pointer"].startswith(pointer)) == (
            422,
            True,
        ), (path, reply.body)


async def test_more_figures_than_anyone_reads_are_refused_before_they_are_made(house):
    await house.put(DIRECTORY, "admin:a")
    kinds = [kind for kind in TASK_TYPES if kind != "scheduling"]
    work = [requested(kind, task_type=kind) for kind in kinds]
    await house.put(work[:6])
    token = await house.token()
    names = ",".join(get_args(MetricName))
    days = "from=2026-01-01&to=2027-02-05&granularity=day"
    query = f"metric={names}&{days}&group_by=task_type"
    # 400 days × 6 types × 8 metrics and clocks of tasks, of which only stock has any member.
    assert len(await figures(house, token, query)) == 400 * 6
    await house.put(work[6:])
    refused = await house.get(token, f"/v1/firms/firm-1/metrics?{query}")
    assert (refused.status, refused.body["code"]) == (422, "invalid_query")
    (fault,) = refused.body["errors"]
    assert (fault["pointer"], fault["code"]) == ("/query", "too_many_figures")
    assert "20,000" in fault["detail"]
    assert await figures(house, token, query.replace("=day", "=week"))


async def test_definitions_are_open_to_all_and_name_every_metric(house):
    reply = await house.get(None, "/v1/metric-definitions")
    assert reply.status == 200
    assert [item["metric"] for item in reply.body["definitions"]] == [
        "turnaround",
        "slack",
        "first_pass_acceptance",
        "review_coverage",
        "escalation_rate",
        "throughput",
        "open_overdue",
        "hours",
        "hours_by_task_type",
    ]
    assert all(item["formula"] and item["edges"] for item in reply.body["definitions"])


async def test_a_retraction_takes_a_task_out_of_every_figure(house):
    await house.put(DIRECTORY, "admin:a")
    await house.put([requested(), submitted(), entry("en-1", 45)])
    retractions = [
        event(
            "event.retracted",
            f"x-{target}",
            {
                "firm_id": "firm-1",
                "target_source": "tracker/as-1",
                "target_id": target,
                "reason": "mistake",
                **about,
            },
            minutes=200,
        )
        for target, about in (
            ("t-1-r", {"task_id": "t-1"}),
            ("t-1-s1", {"task_id": "t-1"}),
            ("e-en-1", {"entry_id": "en-1"}),
        )
    ]
    await house.put(retractions)
    for table in ("task", "entry", "segment"):
        assert await house.conn.fetchval(f"select count(*) from {table}") == 0, table  # noqa: S608 (names of ours)
    found = await figures(house, await house.token(), f"metric=turnaround&metric=hours&{WEEK}")
    assert {figure["n"] for figure in found} == {0}


async def test_a_rebuild_gives_the_same_state_whatever_came_twice(house):
    await house.put([*DIRECTORY, CALENDAR], "admin:a")
    await house.put([*STORY, *STORY])
    loose = {
        "firm_id": "firm-1",
        "placement_id": "pl-1",
        "escalation_id": "x-9",
        "category": "access",
    }
    await house.put([event("escalation.raised", "x-9", loose)])
    before = await state_hash(house.conn)
    await rebuild(house.conn)
    assert await state_hash(house.conn) != before
    await house.settle()
    assert await state_hash(house.conn) == before
    assert await house.conn.fetchval("select count(*) from escalation") == 1
    assert await house.conn.fetchval("select min(service_date) from segment") == date(2026, 7, 1)


async def test_the_house_is_ready_once_it_reads_the_log(house):
    assert await health(house.http, house.ops_url) == (200, {})
