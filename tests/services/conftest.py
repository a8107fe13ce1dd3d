"""A house made for the corridor's tests: it counts an entity's facts and notes its directory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from schemas.directory import Directory
from schemas.events import EntityKey
from schemas.facts import Fact
from schemas.order import standing
from services.folding import Reading, caught_up, consume
from services.kafka import ensure_topics, log_ends
from services.postgres import Connection, connect

TABLE = """
create table metrics.tally (firm_id text, kind text, entity_id text, facts int, country text,
                            primary key (firm_id, kind, entity_id));
comment on table metrics.tally is 'derived: of a test';
grant all on metrics.tally to turnsheet_metrics_writer;
"""


def tally(key: EntityKey, facts: Sequence[Fact], directory: Directory) -> Any:
    """Count what stands, and note the placement's country; one entity id is a trap."""
    if key.entity_id == "trap":
        raise ArithmeticError("a fault of ours")
    stood = standing(facts).facts
    placement = directory.placements.get("pl-1")
    country = placement.countries.on(stood[0].time.date()) if placement and stood else None
    return (len(stood), country)


async def save(conn: Connection, saved: Sequence[tuple[EntityKey, Any]]) -> None:
    await conn.executemany(
        "insert into tally values ($1, $2, $3, $4, $5) on conflict (firm_id, kind, entity_id) "
        "do update set facts = excluded.facts, country = excluded.country",
        [(*key, *state) for key, state in sorted(saved)],
    )


TALLY = Reading(
    "metrics", ("directory", "task-events", "time-events"),
    frozenset({"task", "escalation", "entry"}), tally, save,
)  # fmt: skip


@dataclass
class TallyHouse:
    """A running consumer of the test house, and a look at its tables."""

    settings: Any
    conn: Connection

    async def settle(self) -> None:
        """Wait until everything on the log is applied."""
        topics = [self.settings.topic(name) for name in TALLY.topics]
        ends = await log_ends(self.settings, topics)
        async with asyncio.timeout(30):
            while not await caught_up(self.conn, ends):  # noqa: ASYNC110 (another process's table)
                await asyncio.sleep(0.02)

    async def rows(self) -> dict[str, tuple[int, str | None]]:
        found = await self.conn.fetch("select entity_id, facts, country from tally")
        return {row["entity_id"]: (row["facts"], row["country"]) for row in found}


@asynccontextmanager
async def consuming(settings: Any, reading: Reading = TALLY) -> AsyncIterator[None]:
    """Run a consumer for the length of a block."""
    stop = asyncio.Event()
    task = asyncio.create_task(consume(settings, reading, stop))
    try:
        yield
    finally:
        stop.set()
        await task


@pytest.fixture
async def tally_house(settings: Any) -> AsyncIterator[TallyHouse]:
    with psycopg.connect(settings.database_url, autocommit=True) as owner:
        owner.execute(TABLE)
    await ensure_topics(settings)
    conn = await connect(settings, "metrics", "writer")
    yield TallyHouse(settings, conn)
    await conn.close()


__all__ = ["TALLY", "Callable", "TallyHouse", "consuming", "tally_house"]
