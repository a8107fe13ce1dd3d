"""The month run's rows: as multiples of a plain sum of seconds over the same segments."""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import psycopg

from services.billing.consumer import READING as BILLING
from services.client import call
from services.machine.operator_tokens import ensure_operator_tokens
from services.settings import Settings
from tests.bench.ground import ROOT, Ground, house
from tests.bench.multiply import empty, multiply, tell_one_firm, until_applied
from tests.bench.report import Figure, compare
from tests.bench.workload import month

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
    asyncio.run(tell_one_firm(settings))
    asyncio.run(empty(settings, "billing"))
    asyncio.run(ensure_operator_tokens(settings))
    with house("billing", settings) as process:
        ground.say("month: the consumer folds one firm")
        asyncio.run(until_applied(settings, process, "billing", BILLING.topics))
        asyncio.run(multiply(ground, settings, "billing", firms))
        with psycopg.connect(settings.database_url, autocommit=True) as conn:
            conn.execute(REFERENCE)
        yield from _measure(ground, settings, firms)


def _sum_seconds(settings: Settings) -> tuple[float, int]:
    """Sum the seconds of all segments, and say how long that takes at its best."""
    taken = []
    with psycopg.connect(settings.database_url) as conn:
        for _ in range(7):
            began = time.perf_counter()
            row = conn.execute("select sum(seconds), count(*) from bench.segment").fetchone()
            taken.append(time.perf_counter() - began)
    assert row is not None
    return statistics.median(taken), int(row[1])


def _measure(ground: Ground, settings: Settings, firms: int) -> Iterator[Figure]:
    work = month(1)
    period = f"{work.world.first_day:%Y-%m}"
    following = f"{work.world.after_day:%Y-%m}"
    rounds = 1 if ground.quick or ground.long else min(ground.rounds, 3)
    seconds: dict[str, list[float]] = {}
    sums: dict[str, list[float]] = {}

    def timed(name: str, what: Any) -> Any:
        base, _ = _sum_seconds(settings)
        began = time.perf_counter()
        found = what()
        seconds.setdefault(name, []).append(time.perf_counter() - began)
        sums.setdefault(name, []).append(base)
        return found

    for number in range(rounds):
        ground.say(f"month: round {number + 1} of {rounds}: dry run of {firms} firms")
        timed("dry run", lambda: _run(ground, settings, period, dry_run=True))
        ground.say(f"month: round {number + 1} of {rounds}: drafts, one worker")
        timed("drafts, one worker", lambda: _run(ground, settings, period))
        ground.say(f"month: round {number + 1} of {rounds}: drafts, four workers")
        with _Workers(settings, 3):
            timed("drafts, four workers", lambda: _run(ground, settings, period))
    invoices = _approve(settings, period)
    ground.say(f"month: issuing {len(invoices)} invoices")
    timed("issue", lambda: _issue(ground, settings, invoices))
    ground.say("month: rendering")
    timed("render", lambda: _render(ground, settings, invoices))
    for number in range(rounds):
        ground.say(f"month: round {number + 1} of {rounds}: the next month, nothing new")
        timed("re-run with nothing new", lambda: _run(ground, settings, following, dry_run=True))
    _, segments = _sum_seconds(settings)
    beside = f"sum(seconds) of {segments:,} rows"
    for name, goal in (
        ("dry run", 5),
        ("drafts, one worker", 25),
        ("drafts, four workers", 15),
        ("re-run with nothing new", 8),
    ):
        yield compare("month", name, "s", seconds[name], beside, sums[name], goal, "at most")
    for name in ("issue", "render"):
        each = seconds[name][0] * 1000 / max(len(invoices), 1)
        yield Figure("month", f"{name} of {len(invoices):,} invoices", "ms each", each)


def _run(ground: Ground, settings: Settings, period: str, *, dry_run: bool = False) -> str:
    """Begin a run and wait until every firm is done."""
    asked = {"period": period, "dry_run": dry_run}
    run = json.loads(call(settings, "billing", "POST", "/v1/runs", asked))
    with psycopg.connect(settings.database_url, autocommit=True) as conn:
        told_at = time.monotonic()
        while True:
            row = conn.execute(
                "select (select listed from billing.run where run_id = %(run)s), "
                "count(*) filter (where not done), count(*) "
                "from billing.run_firm where run_id = %(run)s",
                {"run": run["run_id"]},
            ).fetchone()
            assert row is not None
            listed, waiting, count = row
            if listed and not waiting:
                break
            if time.monotonic() - told_at > 2:
                told_at = time.monotonic()
                ground.say(f"month: {count - waiting} of {count} firms")
            time.sleep(0.02)
    found: str = run["run_id"]
    return found


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
            secret = {
                name: getattr(settings, name).get_secret_value()
                for name in ("token_pepper", "database_role_password")
            }
            told = settings.model_dump_json(exclude=set(secret))
            one.stdin.write(f"{told}\n{secret['database_role_password']}\n".encode())
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


def _issue(ground: Ground, settings: Settings, invoices: list[str]) -> None:
    told = {"invoice_date": datetime.now(UTC).date().isoformat()}
    for invoice_id in _told(ground, "issued", invoices):
        call(settings, "billing", "POST", f"/v1/invoices/{invoice_id}/issue", told)


def _render(ground: Ground, settings: Settings, invoices: list[str]) -> None:
    for invoice_id in _told(ground, "rendered", invoices):
        call(settings, "billing", "GET", f"/v1/invoices/{invoice_id}.json")


def _told(ground: Ground, done: str, invoices: list[str]) -> Iterator[str]:
    """Give one invoice after the other, and say every two seconds how many are done."""
    told_at = time.monotonic()
    for number, invoice_id in enumerate(invoices):
        if time.monotonic() - told_at > 2:
            told_at = time.monotonic()
            ground.say(f"month: {number} of {len(invoices)} {done}")
        yield invoice_id
