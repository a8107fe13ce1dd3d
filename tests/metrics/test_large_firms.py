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
from services.metrics.store import save_tasks
from services.pulse import LARGE_RECORDS
from tests.log import DIRECTORY, entry
from tests.metrics.stories import task_of
from tests.metrics.test_tasks import NOWHERE

MANY = LARGE_RECORDS + 100
WEEK = "from=2026-06-29&to=2026-07-06"
OPEN = """select count(*) from pg_stat_activity where datname = current_database()
    and usename = 'turnsheet_metrics_firm' and state like 'idle in transaction%'"""


async def hand_in(house, count):
    """Save so many tasks, each requested and handed in on the first of July and never reviewed."""
    task = task_of((0, "requested"), (30, "submitted"))
    tasks = [replace(task, task_id=f"t-{number}") for number in range(count)]
    placed = [PlacedTask(task, NOWHERE, True) for task in tasks]
    keys = [EntityKey("firm-1", "task", task.task_id) for task in tasks]
    await save_tasks(house.conn, list(zip(keys, placed, strict=True)))


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
    await hand_in(house, MANY)
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
