"""The month run's rows: as multiples of a plain sum of seconds over the same segments."""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime

import psycopg
from rich.progress import track

from services.billing.consumer import READING as BILLING
from services.client import call
from services.demo.workload import Sent, Workload
from services.kafka import ensure_topics
from services.machine.operator_tokens import ensure_operator_tokens
from services.settings import Settings
from services.terminal import err
from tests.bench.ground import ROOT, Ground, Process, house
from tests.bench.multiply import empty, multiply, renamed, until_applied
from tests.bench.report import Figure, compare, turned
from tests.bench.workload import month
from tests.log import put_sent
from tests.servers import plain

REFERENCE = """
insert into billing.rate (firm_id, rate_id, placement_id, country, role, phase, currency, rate_e4,
                          valid, actor, decided_at)
select '*', 'rt-' || c || '-' || r, '*', c, r, '*', 'USD', 125000, daterange('2020-01-01', null),
       'finance:bench', now()
from unnest(array['PH', 'CO', 'IN', 'MX', 'CR', 'AR']) c,
     unnest(array['legal_assistant', 'intake_specialist', 'paralegal']) r;
insert into billing.terms (firm_id, version, effective_month, approval, increment_minutes,
                           direction, excluded_kinds, excluded_phases, actor, decided_at)
select firm_id, 1, '2020-01-01', 'none', 0, 'up', '{}', '{}', 'finance:bench', now()
from billing.firm;
create schema if not exists bench;
drop table if exists bench.segment;
create table bench.segment as
select e.firm_id, e.entry_id, (s ->> 'seconds')::bigint as seconds,
       s ->> 'placement_id' as placement_id, (s ->> 'service_date')::date as service_date
from billing.entry e, json_array_elements(e.segments) s;
analyze bench.segment;
"""


def run(ground: Ground) -> Iterator[Figure]:
    """Measure runs, issue and rendering."""
    settings = ground.settings.model_copy(
        update={"topic_prefix": f"{ground.settings.topic_prefix}month."}
    )
    firms = 3 if ground.quick else 2_000 if ground.long else 60
    work = month(1)
    late = _pick_late(work)
    asyncio.run(ensure_topics(settings))
    in_time = (one for one in work.events if one not in late)
    asyncio.run(put_sent(settings, [*work.directory, *in_time]))
    asyncio.run(empty(settings, "billing"))
    asyncio.run(ensure_operator_tokens(settings))
    with house("billing", settings) as process:
        ground.say("month: the consumer folds one firm")
        asyncio.run(until_applied(settings, process, BILLING))
        asyncio.run(multiply(ground, settings, "billing", firms))
        with psycopg.connect(settings.database_url, autocommit=True) as conn:
            conn.execute(REFERENCE)
        books = Books(ground, settings, process)
        _draft(books, f"{work.world.first_day:%Y-%m}")
        documents = list(_documents(books, f"{work.world.first_day:%Y-%m}"))
        _run_again(books, work)
        yield from _figures(books)
        yield _find_late(books, work, late, firms)
        yield from documents


def _pick_late(work: Workload) -> list[Sent]:
    """Pick a hundredth of the entries, of those that one event tells whole, to be told late."""
    told = [(sent, json.loads(sent.body)["data"]) for sent in work.events]
    events = Counter(data["entry_id"] for _, data in told if "entry_id" in data)
    whole = [
        sent
        for sent, data in told
        if data.get("kind") == "work" and data["billable"] and events[data["entry_id"]] == 1
    ]
    return whole[:: len(whole) // (len(events) // 100)]


class Books:
    """A running billing with the books of many firms, and how long each thing took."""

    def __init__(self, ground: Ground, settings: Settings, process: Process) -> None:
        self.ground = ground
        self.settings = settings
        self.process = process
        self.segments = 0
        self.seconds: dict[str, list[float]] = {}
        self.sums: dict[str, list[float]] = {}

    def timed_run(
        self, name: str, period: str, *, dry_run: bool, firms: Sequence[str] | None = None
    ) -> str:
        """Run a month over some firms or all, after a plain sum over all segments; time both."""
        self.sums.setdefault(name, []).append(self._sum_seconds())
        began = time.perf_counter()
        run_id = self._run({"period": period, "dry_run": dry_run, "firm_ids": firms})
        self.seconds.setdefault(name, []).append(time.perf_counter() - began)
        return run_id

    def _sum_seconds(self) -> float:
        """Sum the seconds of all segments; return the seconds that takes, the median of seven."""
        taken = []
        with psycopg.connect(self.settings.database_url) as conn:
            for _ in range(7):
                began = time.perf_counter()
                row = conn.execute("select sum(seconds), count(*) from bench.segment").fetchone()
                taken.append(time.perf_counter() - began)
        assert row is not None
        self.segments = int(row[1])
        return statistics.median(taken)

    def _run(self, asked: Mapping[str, object]) -> str:
        """Begin a run and wait until every firm is done."""
        begun = json.loads(call(self.settings, "billing", "POST", "/v1/runs", asked))
        run_id: str = begun["run_id"]
        with psycopg.connect(self.settings.database_url, autocommit=True) as conn:
            told_at = time.monotonic()
            while True:
                row = conn.execute(
                    "select (select listed from billing.run where run_id = %(run)s), "
                    "count(*) filter (where not done), count(*) "
                    "from billing.run_firm where run_id = %(run)s",
                    {"run": run_id},
                ).fetchone()
                assert row is not None
                listed, waiting, count = row
                if listed and not waiting:
                    return run_id
                if time.monotonic() - told_at > 2:
                    told_at = time.monotonic()
                    self.process.check_alive()
                    self.ground.say(f"month: {count - waiting} of {count} firms")
                time.sleep(0.02)


def _draft(books: Books, period: str) -> None:
    """Decide and draft a month in every round, alone and with others."""
    for number in range(books.ground.rounds):
        for name in turned(["dry run", "drafts, one worker", "drafts, four workers"], number):
            books.ground.say(f"month: round {number + 1} of {books.ground.rounds}: {name}")
            with _Workers(books.settings, 3 if name == "drafts, four workers" else 0):
                books.timed_run(name, period, dry_run=name == "dry run")


def _documents(books: Books, period: str) -> Iterator[Figure]:
    """Issue and render all invoices, in every round a part of them."""
    invoices = _approve(books.settings, period)
    rounds = min(books.ground.rounds, len(invoices))
    taken: dict[str, list[float]] = {"issue": [], "render": []}
    each: dict[str, list[float]] = {"issue": [], "render": []}
    for number in range(rounds):
        part = invoices[number::rounds]
        for name, do in (("issue", _issue), ("render", _render)):
            words = f"{name} of {len(part):,} invoices"
            books.ground.say(f"month: round {number + 1} of {rounds}: {words}")
            began = time.perf_counter()
            hidden = not err.is_terminal
            for invoice_id in track(part, words, console=err, transient=True, disable=hidden):
                do(books.settings, invoice_id)
            taken[name].append(time.perf_counter() - began)
            each[name].append(taken[name][-1] * 1000 / len(part))
    for name, milliseconds in each.items():
        what = f"{name} of {len(invoices):,} invoices"
        yield Figure("month", what, "ms each", statistics.median(milliseconds))
    both = sum(taken["issue"] + taken["render"])
    yield Figure("month", f"{len(invoices):,} firms issued and rendered", "s", both)


def _run_again(books: Books, work: Workload) -> None:
    """Run the next month over issued books, with nothing new."""
    for number in range(books.ground.rounds):
        books.ground.say(f"month: round {number + 1} of {books.ground.rounds}: the next month")
        following = f"{work.world.after_day:%Y-%m}"
        books.timed_run("re-run with nothing new", following, dry_run=True)


def _find_late(books: Books, work: Workload, late: Sequence[Sent], firms: int) -> Figure:
    """Tell one half of the firms late entries, and run the next month over each half."""
    half = (firms - 1) // 2
    told = [renamed(one, number) for number in range(2, half + 2) for one in late]
    books.ground.say(f"month: telling {len(told):,} late entries")
    asyncio.run(put_sent(books.settings, told))
    asyncio.run(until_applied(books.settings, books.process, BILLING))
    halves = {"late entries": 2, "nothing new": half + 2}
    for number in range(books.ground.rounds):
        for name in turned(list(halves), number):
            books.ground.say(
                f"month: round {number + 1} of {books.ground.rounds}: half with {name}"
            )
            numbers = range(halves[name], halves[name] + half)
            run_id = books.timed_run(
                name, f"{work.world.after_day:%Y-%m}", dry_run=True,
                firms=[f"firm-001.{firm}" for firm in numbers],
            )  # fmt: skip
            came = told if name == "late entries" else []
            _check_found(books.settings, run_id, f"{work.world.first_day:%Y-%m}", came)
    what = f"re-run of {half:,} firms with {len(told):,} late entries"
    ours, theirs = (books.seconds[name] for name in halves)
    return compare("month", what, "s", ours, "as many with nothing new", theirs)


def _check_found(settings: Settings, run_id: str, period: str, late: Sequence[Sent]) -> None:
    """Raise RuntimeError unless a run bills all of what came late, and nothing else, of a month."""
    with psycopg.connect(settings.database_url) as conn:
        row = conn.execute(
            "select coalesce(sum((line ->> 'seconds')::bigint), 0) "
            "from billing.run_firm, json_array_elements(report -> 'lines') line "
            "where run_id = %s and line ->> 'service_month' = %s",
            [run_id, period],
        ).fetchone()
    assert row is not None
    expected = 0.0
    for one in late:
        data = json.loads(one.body)["data"]
        began, ended = (datetime.fromisoformat(data[name]) for name in ("started_at", "ended_at"))
        expected += (ended - began).total_seconds()
    if row[0] != expected:
        raise RuntimeError(f"{expected:.0f} seconds came late, and the run found {row[0]}")


def _figures(books: Books) -> Iterator[Figure]:
    beside = f"sum(seconds) of {books.segments:,} rows"
    meant = "" if books.ground.long else "1 million segments"
    for name, goal in (
        ("dry run", 5),
        ("drafts, one worker", 25),
        ("drafts, four workers", 15),
        ("re-run with nothing new", 8),
    ):
        yield compare(
            "month", name, "s", books.seconds[name], beside, books.sums[name],
            goal, "at most", meant,
        )  # fmt: skip


class _Workers:
    """More run workers, each a process of its own."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._started = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.bench.month_worker", str(settings.home)],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            for _ in range(count)
        ]  # fmt: skip
        for one in self._started:
            assert one.stdin is not None
            assert one.stdout is not None
            one.stdin.write(json.dumps(plain(settings)).encode() + b"\n")
            one.stdin.flush()
            one.stdout.readline()

    def __enter__(self) -> None:
        """They run already."""

    def __exit__(self, *_: object) -> None:
        """End them."""
        for one in self._started:
            one.terminate()
            one.communicate(timeout=10)


def _approve(settings: Settings, period: str) -> list[str]:
    """Approve all drafts at once: what is measured comes after."""
    with psycopg.connect(settings.database_url, autocommit=True) as conn:
        rows = conn.execute(
            "update billing.invoice set state = 'approved' "
            "where state = 'draft' and period = %s returning invoice_id",
            [date.fromisoformat(f"{period}-01")],
        ).fetchall()
    return [row[0] for row in rows]


def _issue(settings: Settings, invoice_id: str) -> None:
    told = {"invoice_date": datetime.now(UTC).date().isoformat()}
    call(settings, "billing", "POST", f"/v1/invoices/{invoice_id}/issue", told)


def _render(settings: Settings, invoice_id: str) -> None:
    call(settings, "billing", "GET", f"/v1/invoices/{invoice_id}.json")
