"""A house made for the corridor's tests: it counts an entity's facts and notes its directory.

As a program it consumes until SIGTERM, and stands still inside a transaction when told to.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from schemas.directory import Directory
from schemas.events import EntityKey
from schemas.facts import Fact
from schemas.order import standing
from services.consuming import consume
from services.folding import Reading
from services.log_health import Health
from services.postgres import Connection, connect
from services.settings import Settings
from tests.log import applied
from tests.servers import plain

ROOT = Path(__file__).parent.parent
TABLE = """
create table metrics.tally (firm_id text, kind text, entity_id text check (entity_id <> 'refused'),
                            facts int, country text, primary key (firm_id, kind, entity_id));
comment on table metrics.tally is 'derived: of a test';
grant all on metrics.tally to turnsheet_metrics_writer;
"""
ARMED, REACHED = "armed", "reached"
VARIABLE = "TALLY"  # how the program hears where its servers are


def tally(key: EntityKey, facts: Sequence[Fact], directory: Directory) -> Any:
    """Count what stands, and note the placement's country; one entity id is a trap."""
    if key.entity_id == "trap":
        raise ArithmeticError("a fault of ours")
    stood = standing(facts).facts
    placement = directory.placements.get("pl-1")
    country = placement.countries.on(stood[0].time.date()) if placement and stood else None
    return (len(stood), country)


async def save(conn: Connection, saved: Sequence[tuple[EntityKey, Any]]) -> None:
    """Write a whole set with one statement and remove another with one, as a house does."""
    gone = [key for key, state in saved if state is None]
    if gone:
        await conn.execute(
            "delete from tally where (firm_id, kind, entity_id) in "
            "(select * from unnest($1::text[], $2::text[], $3::text[]))",
            *(list(column) for column in zip(*gone, strict=True)),
        )
    kept = [(*key, *state) for key, state in saved if state is not None]
    if not kept:
        return
    await conn.execute(
        "insert into tally select * from "
        "unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[]) "
        "on conflict (firm_id, kind, entity_id) "
        "do update set facts = excluded.facts, country = excluded.country",
        *(list(column) for column in zip(*kept, strict=True)),
    )


TALLY = Reading(
    "metrics", ("directory", "task-events", "time-events"),
    frozenset({"task", "escalation", "entry"}), tally, save,
)  # fmt: skip


@dataclass
class TallyHouse:
    """A look at the tables of the test house, and at how far it has come."""

    settings: Settings
    conn: Connection

    async def settle(self, seconds: float = 40) -> None:
        """Wait until everything on the log is applied."""
        await applied(self.settings, TALLY, self.conn, seconds)

    async def rows(self) -> dict[str, tuple[int, str | None]]:
        """Return facts and country by entity id."""
        found = await self.conn.fetch("select entity_id, facts, country from tally")
        return {row["entity_id"]: (row["facts"], row["country"]) for row in found}

    async def count(self, table: str) -> int:
        found: int = await self.conn.fetchval(f"select count(*) from {table}")  # noqa: S608 (a test's own words)
        return found

    async def failed(self) -> dict[str, str]:
        """Return the reasons of failed entities by id."""
        found = await self.conn.fetch("select entity_id, failed from entity where failed <> ''")
        return {row["entity_id"]: row["failed"] for row in found}


@asynccontextmanager
async def tally_house(settings: Settings) -> AsyncIterator[TallyHouse]:
    """Make the house's table and look at it."""
    with psycopg.connect(settings.database_url, autocommit=True) as owner:
        owner.execute(TABLE)
    conn = await connect(settings, "metrics", "writer")
    try:
        yield TallyHouse(settings, conn)
    finally:
        await conn.close()


@asynccontextmanager
async def consuming(
    settings: Settings, reading: Reading = TALLY, health: Health | None = None
) -> AsyncIterator[None]:
    """Run a consumer for the length of a block."""
    stop = asyncio.Event()
    task = asyncio.create_task(consume(settings, reading, stop, health))
    try:
        yield
    finally:
        stop.set()
        await task


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Wait for a condition of this process, or of a file."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (nobody sets an event for it)
            await asyncio.sleep(0.02)


# As a program


def environment(settings: Settings, folder: Path) -> Mapping[str, str]:
    """Write what the program needs to know into an environment."""
    return {**os.environ, VARIABLE: json.dumps([plain(settings), str(folder)])}


@contextmanager
def process(settings: Settings, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the program for the length of a block; its words go to `words.txt` in the folder."""
    with (folder / "words.txt").open("w") as words:
        running = subprocess.Popen(
            [sys.executable, "-m", "tests.tally"],
            env=environment(settings, folder), cwd=ROOT, stdout=words, stderr=words,
        )  # fmt: skip
        try:
            yield running
        finally:
            running.send_signal(signal.SIGCONT)
            running.kill()
            running.wait(10)


def _standing_still(folder: Path) -> Reading:
    async def save_or_stand_still(conn: Connection, saved: Sequence[tuple[EntityKey, Any]]) -> None:
        await save(conn, saved)
        with contextlib.suppress(FileNotFoundError):
            (folder / ARMED).rename(folder / REACHED)
            await asyncio.sleep(1)

    return replace(TALLY, save=save_or_stand_still)


async def _main() -> None:
    known, folder = json.loads(os.environ[VARIABLE])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await consume(Settings(**known), _standing_still(Path(folder)), stop)


__all__ = ["TALLY", "TallyHouse", "consuming", "process", "tally_house", "until"]

if __name__ == "__main__":
    asyncio.run(_main())
    sys.exit(0)
