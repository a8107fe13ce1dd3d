"""Latency's rows: from a POST to the row in Postgres, and to the answer of REST, under load."""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg

from services.demo.workload import Sent
from services.demo.world import Placement
from services.kafka import ensure_topics
from services.machine.operator_tokens import ensure_operator_tokens
from services.metrics.consumer import READING as METRICS
from services.settings import Settings
from tests.bench.ground import Ground, Process, house
from tests.bench.load import Load, check_answers
from tests.bench.multiply import empty, until_applied
from tests.bench.report import Figure
from tests.bench.workload import SINGLE, Bodies, month, prepared

LOADED = 16
SECONDS = 15
SAMPLES_MIN = 10
LOOK = "select 1 from metrics.task where firm_id = $1 and task_id = $2"
# Milliseconds of p50 and p99 that are the goals, by the share of the capacity that others send.
ROW_GOALS = {0.5: (15, 100), 0.8: (None, 1_000)}
REST_GOALS = {0.5: (None, 250), 0.8: (None, 1_000)}


@dataclass(frozen=True)
class Way:
    """A running ingest and metrics, the sender of the load, and whose events are watched."""

    ground: Ground
    settings: Settings
    ingest: Process
    metrics: Process
    load: Load
    tokens: Mapping[str, str]
    watched: Placement


def run(ground: Ground) -> Iterator[Figure]:
    """Load ingest and metrics with shares of what they can take, and watch single events go by."""
    settings = ground.settings.model_copy(
        update={"topic_prefix": f"{ground.settings.topic_prefix}latency."}
    )
    asyncio.run(ensure_topics(settings))
    asyncio.run(empty(settings, "ingest"))
    asyncio.run(empty(settings, "metrics"))
    work = month(4 if ground.quick else 16)
    watched = work.world.placements[-1]
    once = {one.body: one for one in work.events}  # simulated senders repeat some
    others = [one for one in once.values() if watched.firm.firm_id.encode() not in one.body]
    count = 200 if ground.quick else 2_000
    middle = (count + len(others)) // 2
    with house("ingest", settings) as ingest, house("metrics", settings) as metrics, Load() as load:
        tokens = prepared(settings, work)
        way = Way(ground, settings, ingest, metrics, load, tokens, watched)
        began = time.perf_counter()
        _send(way, others[:count])
        asyncio.run(until_applied(settings, metrics, METRICS))
        capacity = count / (time.perf_counter() - began)
        ground.say(f"latency: {capacity:.0f} single events a second from POST to row")
        yield from _measure(way, others[count:middle], capacity, 0.5)
        yield from _measure(way, others[middle:], capacity, 0.8)


def _send(way: Way, events: Sequence[Sent], rate: float = 0) -> float:
    """Send events one a POST, each once, and return how many a second were taken."""
    parts = [(one.principal, [one.body]) for one in events]
    requests = Bodies(1, parts, dict(way.tokens)).write(way.ground.folder / "others", SINGLE)
    told = way.load.send(way.ingest.port, requests, len(parts), LOADED, rate)
    check_answers(told, 202, "the load of ingest")
    return float(len(parts) / told["seconds"])


def _measure(way: Way, others: Sequence[Sent], capacity: float, share: float) -> Iterator[Figure]:
    """Watch while others send a share of the capacity, for as long as there is of their work."""
    seconds = min(2 if way.ground.quick else SECONDS, len(others) / (capacity * share))
    events = others[: int(capacity * share * seconds)]
    way.ground.say(f"latency: {len(events)} events at {share:.0%} of that")
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(_send, way, events, capacity * share)
        samples = asyncio.run(_watch(way, f"watched-{share:g}", seconds))
        rate = sending.result()
    beside = f"{rate:.0f} events/s, {len(samples)} samples"
    to_row, to_rest = zip(*samples, strict=True)
    for what, values, (of_p50, of_p99) in (
        ("row", to_row, ROW_GOALS[share]),
        ("visible in REST", to_rest, REST_GOALS[share]),
    ):
        quantiles = statistics.quantiles(values, n=100)
        for percent, goal in ((50, of_p50), (99, of_p99)):
            yield Figure(
                "latency", f"POST to {what} at {share:.0%} of capacity, p{percent}", "ms",
                quantiles[percent - 1], beside, goal=goal, sense="at most",
            )  # fmt: skip


async def _watch(way: Way, name: str, seconds: float) -> list[tuple[float, float]]:
    """Post task after task, and look until each is there.

    Return the milliseconds of each, to its row and to the answer of REST that knows it.
    """
    token = way.tokens[way.watched.firm.principal]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": SINGLE}
    firm_id = way.watched.firm.firm_id
    conn = await asyncpg.connect(way.settings.database_url)
    samples: list[tuple[float, float]] = []
    until = time.perf_counter() + seconds
    async with aiohttp.ClientSession() as http:
        see = await _seer(way, http)
        seen = await see()
        while time.perf_counter() < until or len(samples) < SAMPLES_MIN:
            if len(samples) % 50 == 49:
                way.ground.say(f"latency: {len(samples) + 1} samples")
            task_id = f"{name}-{len(samples)}"
            body = _requested(task_id, way.watched)
            began = time.perf_counter()
            address = f"http://127.0.0.1:{way.ingest.port}/v1/events"
            async with http.post(address, data=body, headers=headers) as answer:
                if answer.status != 202:
                    raise RuntimeError(f"ingest: {answer.status} {await answer.text()}")
            while not await conn.fetchval(LOOK, firm_id, task_id):
                way.metrics.check_alive()
                await asyncio.sleep(0.001)
            row = time.perf_counter() - began
            while (now := await see()) == seen:  # noqa: ASYNC110 (another process's answer)
                await asyncio.sleep(0.001)
            seen = now
            samples.append((row * 1000, (time.perf_counter() - began) * 1000))
    await conn.close()
    return samples


async def _seer(way: Way, http: aiohttp.ClientSession) -> Callable[[], Awaitable[Any]]:
    """Return a call that asks metrics up to which positions of the log it has read."""
    finance = (await ensure_operator_tokens(way.settings))["finance"]
    day = datetime.now(UTC).date()
    address = (
        f"http://127.0.0.1:{way.metrics.port}/v1/firms/{way.watched.firm.firm_id}/metrics"
        "?metric=throughput&phase=all"
        f"&from={day - timedelta(days=2)}&to={day + timedelta(days=2)}"
    )

    async def see() -> Any:
        async with http.get(address, headers={"Authorization": f"Bearer {finance}"}) as answer:
            if answer.status != 200:
                raise RuntimeError(f"metrics: {answer.status} {await answer.text()}")
            return (await answer.json())["data_as_of"]["positions"]

    return see


def _requested(task_id: str, placement: Placement) -> bytes:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": task_id,
            "source": f"desk/{placement.firm.firm_id}",
            "type": "turnsheet.task.requested.v1",
            "time": datetime.now(UTC).isoformat(),
            "data": {
                "firm_id": placement.firm.firm_id,
                "placement_id": placement.placement_id,
                "task_id": task_id,
                "task_type": "intake",
                "requested_by": "at-1",
            },
        }
    ).encode()
