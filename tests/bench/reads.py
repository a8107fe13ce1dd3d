"""Metrics' reads: how long the published GETs take when there are very many task events."""

import asyncio
import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from services.kafka import ensure_topics
from services.metrics.consumer import READING as METRICS
from services.postgres import connect
from services.settings import Settings
from tests.bench.ground import Ground, Process, house
from tests.bench.load import Load, check_answers, get, write_requests
from tests.bench.multiply import empty, multiply, until_applied
from tests.bench.report import Figure
from tests.bench.workload import month
from tests.log import put_sent
from tests.tokens import make_token

ASKED_FIRMS = 20
GOAL_MILLISECONDS = 20


def run(ground: Ground) -> Iterator[Figure]:
    """Measure the 95th percentile of each kind of read."""
    settings = ground.settings.model_copy(
        update={"topic_prefix": f"{ground.settings.topic_prefix}reads."}
    )
    work = month(1)
    asyncio.run(ensure_topics(settings))
    asyncio.run(put_sent(settings, [*work.directory, *work.events]))
    asyncio.run(empty(settings, "metrics"))
    with house("metrics", settings) as process, Load() as load:
        ground.say("reads: the consumer folds one firm")
        asyncio.run(until_applied(settings, process, METRICS))
        each = asyncio.run(_count(settings))
        wanted = 1_000 if ground.quick else 10_000_000 if ground.long else 1_000_000
        firms = max(math.ceil(wanted / each), 2)
        asyncio.run(multiply(ground, settings, "metrics", firms))
        tokens = asyncio.run(_tokens(settings, firms))
        yield from _measure(ground, load, process, tokens, each * firms)


async def _count(settings: Settings) -> int:
    conn = await connect(settings, "metrics", "writer")
    found = await conn.fetchval("select count(*) from fact where kind = 'task'")
    await conn.close()
    return int(found)


async def _tokens(settings: Settings, firms: int) -> dict[str, str]:
    """Make a token for each of some firms, spread over all."""
    asked = range(2, firms + 1, max(firms // ASKED_FIRMS, 1))
    return {
        firm_id: await make_token(
            settings, "firm", principal_id=f"firm:{firm_id}", firms=[firm_id],
            placements=["*"], sources=["*"],
        )
        for firm_id in (f"firm-001.{number}" for number in asked)
    }  # fmt: skip


def _asked() -> dict[str, str]:
    work = month(1)
    week = work.world.first_day + timedelta(days=14)
    year, number, _ = week.isocalendar()
    span = f"from={work.world.first_day}&to={work.world.after_day}"
    return {
        "one metric, a month": f"metrics?metric=turnaround&{span}",
        "six metrics by task type": "metrics?metric=turnaround,first_pass_acceptance,"
        f"review_coverage,escalation_rate,throughput,hours&group_by=task_type&{span}",
        "weeks of a metric": f"metrics?metric=turnaround&granularity=week&{span}",
        "the tasks behind": f"metrics/turnaround/tasks?{span}",
        "scorecard of a week": f"scorecards/{year}-W{number:02}",
    }


def _measure(
    ground: Ground, load: Load, process: Process, tokens: dict[str, str], events: int
) -> Iterator[Figure]:
    count = 20 if ground.quick else 100
    for what, path in _asked().items():
        requests = write_requests(
            ground.folder / "reads",
            [get(f"/v1/firms/{firm}/{path}", token) for firm, token in tokens.items()],
        )
        check_answers(load.send(process.port, requests, len(tokens), 1), 200, what)
        found: list[dict[str, Any]] = []
        for number in range(ground.rounds):
            ground.say(f"reads: {what}, round {number + 1} of {ground.rounds}")
            answer = load.send(process.port, requests, count, 1)
            check_answers(answer, 200, what)
            found.append(answer)
        p95 = sorted(one["p95"] for one in found)[len(found) // 2]
        p50 = sorted(one["p50"] for one in found)[len(found) // 2]
        yield Figure(
            "reads", f"p95 of {what}, {events:,} task events", "ms", p95,
            f"p50 {p50:.1f} ms", goal=GOAL_MILLISECONDS, sense="at most",
            meant="" if ground.long else "10 million task events",
        )  # fmt: skip
