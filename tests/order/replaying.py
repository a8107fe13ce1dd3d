"""A simulated span of months, put on a log and billed month by month; what it comes to, hashed."""

import asyncio
import multiprocessing
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from schemas.periods import Month
from services.billing import issuing, jobs, store
from services.billing.books import Increment, Rate, Terms
from services.billing.consumer import READING as BILLING
from services.billing.store import SQL
from services.consuming import consume
from services.demo.workload import Sent, simulate
from services.folding import Reading
from services.kafka import ensure_topics
from services.metrics.consumer import READING as METRICS
from services.metrics.store import state_hash as metrics_hash
from services.postgres import Connection, House, connect
from services.producer import Producer, Record
from services.settings import Settings
from tests import servers
from tests.log import applied, insist_on_rebuild, placed

ACTOR = "finance:test"
COUNTRIES = ("AR", "CO", "CR", "IN", "MX", "PH")
ROLES = ("legal_assistant", "intake_specialist", "paralegal")
CHUNK = 200
SETTLE_SECONDS = 1800
PRODUCE_SECONDS = 60
REBUILD_SECONDS = 600
HOUSES: tuple[Reading, ...] = (METRICS, BILLING)
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["services.billing.jobs", "tests.order.replaying"])


class Way(NamedTuple):
    """One way for the same facts to come.

    partitions  of every topic
    workers     processes of each house; those of billing draft too
    rebuilds    of each house, spread over the span, while events come
    """

    partitions: int
    workers: int
    rebuilds: int = 0


class Hashes(NamedTuple):
    """What must not depend on the way: both read models, and every issued document."""

    metrics: str
    billing: str
    invoices: str
    invoice_count: int


class Placed(NamedTuple):
    """A record as ingest would make it, and the topic, without prefix, that it is for."""

    topic: str
    record: Record


@dataclass(frozen=True)
class Plan:
    """What is sent before each month is run; the directory comes with the first part."""

    firms: tuple[str, ...]
    months: tuple[Month, ...]
    directory: tuple[Placed, ...]
    parts: tuple[tuple[Placed, ...], ...]

    @property
    def event_count(self) -> int:
        return sum(map(len, self.parts)) + len(self.directory)


def plan(firms: int, months: int, seed: int, first_day: date, days: int = 31) -> Plan:
    """Simulate the first days of each month, and part what is sent by the months' runs."""
    workload = simulate(firms, months, seed, first_day, days)
    month, periods = Month.of(first_day), []
    for _ in range(months):
        periods.append(month)
        month = month.next()
    parts: list[list[Placed]] = [[] for _ in periods]
    for sent in workload.events:
        run = sum(period.end_date + timedelta(days=4) <= sent.sent_at.date() for period in periods)
        parts[min(run, months - 1)].append(_placed(sent))
    return Plan(
        tuple(firm.firm_id for firm in workload.world.firms),
        tuple(periods),
        tuple(map(_placed, workload.directory)),
        tuple(map(tuple, parts)),
    )


def _placed(sent: Sent) -> Placed:
    return Placed(*placed(sent.body, sent.principal, sent.sent_at))


def _read(house: House, told: dict[str, Any]) -> None:
    """Be a process of a house: read its topics, and draft if it is billing."""
    settings, stop = Settings(**told), asyncio.Event()

    async def all_of_it() -> None:
        if house == BILLING.house:
            await asyncio.gather(consume(settings, BILLING, stop), jobs.work(settings, stop))
        else:
            await consume(settings, METRICS, stop)

    asyncio.run(all_of_it())


@contextmanager
def _processes(settings: Settings, count: int) -> Iterator[None]:
    """Run some processes of each house for the length of a block."""
    crowd = [
        _PROCESSES.Process(target=_read, args=(house.house, servers.plain(settings)), daemon=True)
        for house in HOUSES
        for _ in range(count)
    ]
    for process in crowd:
        process.start()
    try:
        yield
        assert all(process.is_alive() for process in crowd)
    finally:
        for process in crowd:
            process.kill()
            process.join(10)


@asynccontextmanager
async def _connected(
    settings: Settings,
) -> AsyncIterator[tuple[Connection, Connection, Connection]]:
    conns = [
        await connect(settings, "metrics", "writer"),
        await connect(settings, "billing", "writer"),
        await connect(settings, "billing", "office"),
    ]
    try:
        yield conns[0], conns[1], conns[2]
    finally:
        for conn in conns:
            await conn.close()


async def replay(planned: Plan, way: Way, home: Path, say: Callable[[str], None]) -> Hashes:
    """Let a plan's facts come in one way, run and issue every month, and hash what is there."""
    with servers.fresh_database() as url:
        kafka = servers.addresses()["kafka"]
        settings = servers.settings_of(url, kafka, home).model_copy(
            update={"topic_partitions": way.partitions}
        )
        await ensure_topics(settings)
        async with _connected(settings) as (metrics, billing, office):
            await _decide(office, planned.firms)
            with _processes(settings, way.workers):
                for number, month in enumerate(planned.months):
                    await _send(settings, planned, number, way, metrics, billing)
                    for house, conn in ((METRICS, metrics), (BILLING, billing)):
                        await applied(settings, house, conn, SETTLE_SECONDS)
                    await _run_and_issue(settings, billing, office, month)
                    say(f"{way}: {month} issued")
                hashes = Hashes(
                    await metrics_hash(metrics),
                    await store.state_hash(billing),
                    *await _invoices(billing),
                )
    return hashes


async def _decide(office: Connection, firms: Sequence[str]) -> None:
    """Set rates and terms under ids that every way shares: they stand on the invoices."""
    for country_cents, country in enumerate(COUNTRIES, 800):
        for role_cents, role in enumerate(ROLES):
            rate = Rate(f"rt-{country}-{role}", "USD", 100 * (country_cents + 100 * role_cents),
                        date(2025, 1, 1), None, country=country, role=role)  # fmt: skip
            async with office.transaction():
                await store.set_rate(office, rate, actor=ACTOR, new_id=str)
    for number, firm_id in enumerate(firms):
        told = Terms("", 0, Month(2025, 1), "none", Increment((0, 6, 15)[number % 3], "up"))
        async with office.transaction():
            await store.append_terms(office, firm_id, told, actor=ACTOR)


def chunks(planned: Plan, number: int, way: Way) -> list[tuple[str, list[Record]]]:
    """Cut a part by topic, in the order of sending; the directory goes with the first.

    With one partition the directory comes when all of the part's work is there, else before it.
    """
    sendings: list[Sequence[Placed]] = [planned.parts[number]]
    if number == 0:
        sendings.insert(way.partitions % 2, planned.directory)
    cut = []
    for sending in sendings:
        by_topic: dict[str, list[Record]] = {}
        for topic, record in sending:
            by_topic.setdefault(topic, []).append(record)
        cut += [
            (topic, records[start : start + CHUNK])
            for topic, records in sorted(by_topic.items())
            for start in range(0, len(records), CHUNK)
        ]
    return cut


async def _send(
    settings: Settings, planned: Plan, number: int, way: Way, *houses: Connection
) -> None:
    """Put a part on the log, and rebuild the houses while it comes when that is due."""
    cut = chunks(planned, number, way)
    rebuilt_at = {
        int(at % 1 * len(cut)) for at in _moments(planned, way.rebuilds) if int(at) == number
    }
    rebuilding: asyncio.Future[Any] | None = None
    async with Producer(settings) as producer:
        await producer.wait_connected()
        for place, (topic, records) in enumerate(cut):
            if place in rebuilt_at:
                if rebuilding is not None:
                    await rebuilding
                again = (insist_on_rebuild(conn, REBUILD_SECONDS) for conn in houses)
                rebuilding = asyncio.gather(*again)
            await producer.produce(settings.topic(topic), records, PRODUCE_SECONDS)
        if rebuilding is not None:
            await rebuilding


def _moments(planned: Plan, rebuilds: int) -> list[float]:
    """Spread rebuilds over the span: 2.5 is in the middle of what the third month sends."""
    return [len(planned.parts) * (nth + 0.5) / rebuilds for nth in range(rebuilds)]


async def _run_and_issue(
    settings: Settings, billing: Connection, office: Connection, month: Month
) -> None:
    """Run a month to its end, approve all drafts, and issue in the order of firms."""
    run_id = await jobs.begin_run(
        billing, settings, month, None, dry_run=False, actor=ACTOR, request_key=None
    )
    left = "select not listed or exists (select 1 from run_firm f where f.run_id = r.run_id and"
    async with asyncio.timeout(SETTLE_SECONDS):
        while await billing.fetchval(f"{left} not done) from run r where run_id = $1", run_id):  # noqa: ASYNC110 (another process's table; our own text)
            await asyncio.sleep(0.05)
    run = await billing.fetchrow(SQL.load_run, run_id)
    assert run is not None
    for row in await billing.fetch(SQL.load_run_firms, run_id, True, "", None):
        assert '"blocked": []' in row["report"], row["report"][:2000]
        async with office.transaction():
            if row["invoice_id"] is None:
                assert await issuing.settle_without_document(
                    office, run, row["firm_id"], actor=ACTOR
                )
                continue
            invoice = await office.fetchrow(SQL.find_invoice, row["invoice_id"])
            assert invoice is not None
            await issuing.approve(office, invoice, actor=ACTOR)
        async with office.transaction():
            dated = month.end_date + timedelta(days=4)
            await issuing.issue(office, row["firm_id"], row["invoice_id"], dated, actor=ACTOR)


async def _invoices(billing: Connection) -> tuple[str, int]:
    """Hash the bytes of every issued document, series by series, in the order of numbers."""
    digest, count = sha256(), 0
    for row in await billing.fetch(SQL.load_heads):
        for document in await store.load_chain(billing, row["series"]):
            digest.update(document.body)
            count += 1
    return digest.hexdigest(), count


def narrator(write: Callable[[str], Any]) -> Callable[[str], None]:
    """Tell what is done, with the seconds since now."""
    began = time.monotonic()
    return lambda words: write(f"{time.monotonic() - began:7.1f} s  {words}\n")
