"""What ingest keeps in Postgres: its copy of the directory, and which rows came from files."""

from collections.abc import Sequence
from pathlib import Path

from services.postgres import CONNECT_SECONDS, Pool
from services.sql import queries

SQL = queries(Path(__file__).with_name("queries.sql"))


async def load_firms_of_placements(pool: Pool, placement_ids: Sequence[str]) -> dict[str, str]:
    """Return the firm of each placement that the directory knows."""
    async with pool.acquire(timeout=CONNECT_SECONDS) as conn:
        rows = await conn.fetch(SQL.load_firms_of_placements, placement_ids)
    return {row["placement_id"]: row["firm_id"] for row in rows}


async def answers(pool: Pool) -> bool:
    """Say that the database answers; raise what keeps it from it."""
    async with pool.acquire(timeout=CONNECT_SECONDS) as conn:
        return await conn.fetchval(SQL.answer) == 1
