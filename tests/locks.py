"""Who waits for a lock of the test's own database."""

import asyncio

import asyncpg

# Databases cloned from a template share the numbers of their tables: the database has to be named.
_WAITING = """
select count(*) from pg_locks where not granted and locktype = $1
and database = (select oid from pg_database where datname = current_database())
"""
PATIENCE_SECONDS = 30.0


async def until_waiting(conn: asyncpg.Connection, kind: str, count: int = 1) -> None:
    """Wait until so many wait for a lock of a kind (`locktype`). Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await conn.fetchval(_WAITING, kind) < count:  # noqa: ASYNC110 (other sessions' locks)
            await asyncio.sleep(0.005)
