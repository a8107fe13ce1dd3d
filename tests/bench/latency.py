"""Latency's rows: from a POST to the row in Postgres, and to the answer of REST, under load."""

import asyncio
import json
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg

from services.kafka import ensure_topics
from services.machine.operator_tokens import ensure_operator_tokens
from services.settings import Settings
from tests.bench.ground import Ground, Process, house
from tests.bench.load import Load
from tests.bench.multiply import until_applied
from tests.bench.report import Figure
from tests.bench.workload import SINGLE, bodies, month, prepared

LOADED = 16
SHARE = 0.5
SAMPLES_MIN = 10
LOOK = "select 1 from metrics.task where firm_id = $1 and task_id = $2"


def run(ground: Ground) -> Iterator[Figure]:
    """Load ingest and metrics with half of what they can take, and watch single events go by."""
    settings = ground.settings.model_copy(
        update={"topic_prefix": f"{ground.settings.topic_prefix}latency."}
    )
    asyncio.run(ensure_topics(settings))
    asyncio.run(_empty(settings))
    work = month(4)
    with house("ingest", settings) as ingest, house("metrics", settings) as metrics, Load() as load:
        tokens = prepared(settings, work)
        watched = work.world.firms[-1]
        events = bodies(work, tokens, 1)
        others = [part for part in events.parts if watched.firm_id.encode() not in part[1][0]]
        count = 200 if ground.quick else 2_000
        first, rest = (
            replace(events, parts=parts).write(ground.folder / name, SINGLE)
            for name, parts in (("first", others[:count]), ("rest", others[count:]))
        )
        topics = ("directory", "task-events", "time-events")
        began = time.perf_counter()
        load.send(ingest.port, first, count, LOADED)
        asyncio.run(until_applied(settings, "metrics", topics))
        capacity = count / (time.perf_counter() - began)
        ground.say(f"latency: {capacity:.0f} single events a second from POST to row")
        rate = capacity * SHARE
        seconds = 2 if ground.quick else 15
        thread = threading.Thread(
            target=load.send, args=(ingest.port, rest, int(rate * seconds), LOADED, rate)
        )
        thread.start()
        samples = asyncio.run(
            _watch(ground, settings, (ingest, metrics), tokens[watched.principal], seconds)
        )
        thread.join()
    to_row, to_rest = zip(*samples, strict=True)
    where = f"at {rate:.0f} events/s, {len(samples)} samples"
    for what, values, goals in (
        ("POST to row", to_row, {50: 15, 99: 100}),
        ("POST to visible in REST", to_rest, {50: None, 99: 250}),
    ):
        quantiles = statistics.quantiles(values, n=100)
        for percent, goal in goals.items():
            yield Figure(
                "latency", f"{what}, p{percent}", "ms", quantiles[percent - 1], where,
                goal=goal, sense="at most",
            )  # fmt: skip


async def _empty(settings: Settings) -> None:
    owner = await asyncpg.connect(settings.database_url)
    for schema in ("metrics", "ingest"):
        await owner.execute(f"set search_path = {schema}")
        await owner.execute(
            "truncate fact, entity, refold, consumer_offset, firm, placement, assistant"
        )
    await owner.execute("truncate metrics.task, metrics.entry, metrics.segment, metrics.escalation")
    await owner.close()


async def _watch(
    ground: Ground, settings: Settings, doors: tuple[Process, Process], token: str, seconds: float
) -> list[tuple[float, float]]:
    """Post task after task, and look until each is there."""
    ingest, metrics = (f"http://127.0.0.1:{door.port}" for door in doors)
    finance = (await ensure_operator_tokens(settings))["finance"]
    firm = month(4).world.firms[-1]
    placement = month(4).world.placements[-1]
    day = datetime.now(UTC).date()
    look = (
        f"{metrics}/v1/firms/{firm.firm_id}/metrics?metric=throughput&phase=all"
        f"&from={day - timedelta(days=2)}&to={day + timedelta(days=2)}"
    )
    conn = await asyncpg.connect(settings.database_url)
    samples: list[tuple[float, float]] = []
    until = time.perf_counter() + seconds
    async with aiohttp.ClientSession() as http:

        async def see() -> Any:
            async with http.get(look, headers={"Authorization": f"Bearer {finance}"}) as answer:
                if answer.status != 200:
                    raise RuntimeError(f"metrics: {answer.status} {await answer.text()}")
                return (await answer.json())["data_as_of"]["positions"]

        seen = await see()
        number = 0
        while time.perf_counter() < until or len(samples) < SAMPLES_MIN:
            number += 1
            if number % 50 == 0:
                ground.say(f"latency: {number} samples")
            task_id = f"watched-{number}"
            body = _requested(task_id, firm, placement.placement_id)
            began = time.perf_counter()
            headers = {"Authorization": f"Bearer {token}", "Content-Type": SINGLE}
            async with http.post(f"{ingest}/v1/events", data=body, headers=headers) as answer:
                if answer.status != 202:
                    raise RuntimeError(f"ingest: {answer.status} {await answer.text()}")
            while not await conn.fetchval(LOOK, firm.firm_id, task_id):  # noqa: ASYNC110 (likewise)
                await asyncio.sleep(0.001)
            row = time.perf_counter() - began
            while (now := await see()) == seen:  # noqa: ASYNC110 (another process's answer)
                await asyncio.sleep(0.001)
            seen = now
            samples.append((row * 1000, (time.perf_counter() - began) * 1000))
    await conn.close()
    return samples


def _requested(task_id: str, firm: Any, placement_id: str) -> bytes:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": task_id,
            "source": f"desk/{firm.firm_id}",
            "type": "turnsheet.task.requested.v1",
            "time": datetime.now(UTC).isoformat(),
            "data": {
                "firm_id": firm.firm_id,
                "placement_id": placement_id,
                "task_id": task_id,
                "task_type": "intake",
                "requested_by": "at-1",
            },
        }
    ).encode()
