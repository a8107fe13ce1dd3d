"""What a large firm's questions cost: the loop keeps its turns, and only rows that matter come."""

import threading
from collections import Counter
from dataclasses import replace

import psycopg
import pytest

from schemas.events import EntityKey
from services.metrics import api, store
from services.metrics.records import PlacedTask
from services.metrics.seen import Sight
from services.metrics.store import load_tasks, read_tasks, save_tasks
from services.postgres import connect
from services.pulse import LARGE_RECORDS
from tests.log import DIRECTORY, entry
from tests.metrics.stories import minute, task_of
from tests.metrics.test_tasks import NOWHERE

MANY = LARGE_RECORDS + 100
WEEK = "from=2026-06-29&to=2026-07-06"
OPEN = """select count(*) from pg_stat_activity where datname = current_database()
    and usename = 'turnsheet_metrics_firm' and state like 'idle in transaction%'"""


HANDED_IN = task_of((0, "requested"), (30, "submitted"))  # on the first of July, never reviewed


async def save(conn, *tasks):
    placed = [PlacedTask(task, NOWHERE, True) for task in tasks]
    keys = [EntityKey("firm-1", "task", task.task_id) for task in tasks]
    await save_tasks(conn, list(zip(keys, placed, strict=True)))


@pytest.fixture
async def conn(settings):
    found = await connect(settings, "metrics", "writer")
    yield found
    await found.close()


@pytest.fixture
def noted(settings, monkeypatch):
    """Note for what the loop's own thread is used, and how often a transaction is open then."""
    seen: Counter[tuple[str, bool]] = Counter()
    with psycopg.connect(settings.database_url, autocommit=True) as beside:

        def note(name, work):
            def noting(*given):
                if (
                    name,
                    here := threading.current_thread() is threading.main_thread(),
                ) not in seen:
                    assert beside.execute(OPEN).fetchall() == [(0,)]
                seen[name, here] += 1
                return work(*given)

            return noting

        for owner, name in ((Sight, "see"), (store, "Worked"), (api, "_place"), (api, "_item")):
            monkeypatch.setattr(owner, name, note(name, getattr(owner, name)))
        yield seen


async def test_a_large_firms_rows_are_read_beside_the_loop_when_no_transaction_is_open(
    house, noted
):
    await house.put(DIRECTORY, "admin:a")
    await house.put(entry(f"en-{n}", 5) for n in range(MANY))
    await save(house.conn, *(replace(HANDED_IN, task_id=f"t-{n}") for n in range(MANY)))
    token, firm = await house.token(), "/v1/firms/firm-1"
    for path in (
        f"/metrics?metric=turnaround,hours&phase=all&{WEEK}",
        f"/metrics/turnaround/tasks?phase=all&{WEEK}",
        f"/metrics/hours/tasks?limit=3&{WEEK}",
        "/scorecards/2026-W27",
    ):
        reply = await house.get(token, firm + path)
        assert reply.status == 200, reply.body
    first = await house.get(token, f"{firm}/metrics/hours/tasks?limit=3&{WEEK}")
    following = f"limit=3&{WEEK}&cursor={first.body['next']}"
    second = await house.get(token, f"{firm}/metrics/hours/tasks?{following}")
    assert [one["id"] for one in second.body["items"]] == ["en-100", "en-1000", "en-1001"]
    assert {name for name, on_the_loop in noted if on_the_loop} == set()
    assert {name for name, _ in noted} == {"see", "Worked", "_place", "_item"}


async def test_a_week_reads_the_tasks_that_were_open_in_it_and_none_that_was_handed_in_before(conn):
    requested, away = (0, "requested"), (1, "held")
    done, again = (40, "reviewed"), (40, "reviewed", {"outcome": "changes_requested"})
    await save(
        conn,
        HANDED_IN,
        task_of(requested, (30, "submitted"), done, task_id="accepted"),
        task_of(requested, (30, "cancelled"), task_id="cancelled"),
        task_of(requested, task_id="requested"),
        task_of(requested, away, task_id="held"),
        task_of(requested, (30, "submitted"), again, task_id="changes"),
        task_of(requested, (30, "submitted"), done, (50, "reopened"), task_id="reopened"),
    )
    still = ["changes", "held", "reopened", "requested"]

    async def found(since, until):
        rows = await load_tasks(conn, "firm-1", minute(since), minute(until), and_open=True)
        return sorted(task.task_id for task in read_tasks(rows))

    assert await found(60, 61) == still
    assert await found(31, 32) == still
    assert await found(30, 31) == sorted(["accepted", "cancelled", "task-1", *still])
    assert await found(-2, -1) == []
