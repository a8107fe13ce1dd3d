"""What ingest keeps in Postgres: its copy of the directory, and which rows came from files."""

from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path

from services.ingest.imports import Format, KnownRow, Planned
from services.postgres import LOOK_SECONDS, TRANSACTION_SECONDS, Connection, Pool, borrowed
from services.sql import queries

SQL = queries(Path(__file__).with_name("queries.sql"))


async def load_firms_of_placements(pool: Pool, placement_ids: Collection[str]) -> dict[str, str]:
    """Return the firm of each placement that the directory knows."""
    async with borrowed(pool, LOOK_SECONDS) as conn:
        rows = await conn.fetch(SQL.load_firms_of_placements, list(placement_ids))
    return {row["placement_id"]: row["firm_id"] for row in rows}


async def lock_imports(conn: Connection) -> None:
    """Wait until no other import is between its look at what is known and its claim."""
    await conn.execute(SQL.lock_imports)


async def load_import_days(
    conn: Connection, form: Format, days: Collection[tuple[str, date]]
) -> dict[tuple[str, date], frozenset[bytes]]:
    """Return what earlier files of a kind said of (person, day), as far as the role sees firms."""
    persons, dates = zip(*days, strict=True) if days else ((), ())
    found: dict[tuple[str, date], frozenset[bytes]] = {}
    for row in await conn.fetch(SQL.load_import_days, form, persons, dates):
        key = (row["person"], row["day"])
        found[key] = found.get(key, frozenset()) | {row["day_hash"]}
    return found


async def load_import_rows(conn: Connection, row_ids: Sequence[str]) -> dict[str, KnownRow]:
    """Return the rows that earlier files brought, as far as the role sees firms."""
    rows = await conn.fetch(SQL.load_import_rows, row_ids)
    return {
        row["row_id"]: KnownRow(row["firm_id"], row["content_hash"], row["is_sent"]) for row in rows
    }


async def append_import(
    conn: Connection, form: Format, principal: str, fresh: Sequence[Planned]
) -> None:
    """Claim fresh rows and their persons' days."""
    days = {(row.firm_id, row.person, row.day): row.day_hash for row in fresh}
    keys = [list(column) for column in zip(*days, strict=True)] or [[], [], []]
    await conn.execute(SQL.append_import_days, form, principal, *keys, list(days.values()))
    await conn.execute(
        SQL.append_import_rows,
        [row.firm_id for row in fresh],
        [row.row_id for row in fresh],
        [row.content_hash for row in fresh],
    )


async def append_import_sent(pool: Pool, sent: Sequence[Planned]) -> None:
    """Note that the log has confirmed rows' events."""
    async with borrowed(pool, TRANSACTION_SECONDS) as conn:
        await conn.execute(
            SQL.append_import_sent, [row.firm_id for row in sent], [row.row_id for row in sent]
        )
