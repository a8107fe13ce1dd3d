"""Many firms out of one: a month that a real consumer folded, copied under other names."""

import asyncio
from typing import Any

import asyncpg

from services.demo.workload import Sent
from services.folding import Reading, rebuild
from services.postgres import House
from services.settings import Settings
from tests.bench.ground import Ground, Process
from tests.log import applied

TABLES = {
    "billing": ("fact", "entity", "firm", "placement", "entry"),
    "metrics": (
        "firm",
        "placement",
        "entity",
        "entry",
        "segment",
        "task",
        "escalation",
        "fact",
    ),
}
FIRMS_A_STEP = 200
APPLIED_SECONDS = 3_600  # a process that has ended is noticed long before
# The ids of firms, placements and assistants differ from firm to firm, wherever they are named.
RENAMED = """
create schema if not exists bench;
create or replace function bench.renamed(said text, n int) returns text language sql immutable as $$
    select replace(replace(replace(said, 'firm-001', 'firm-001.' || n),
                           'pl-000', 'pl-' || n || '-000'), 'as-000', 'as-' || n || '-000')
$$;
"""


def renamed(sent: Sent, number: int) -> Sent:
    """Have another firm's people send what those of firm-001 do, as `multiply` names them."""
    if number == 1:
        return sent
    return Sent(
        sent.sent_at, _rename(sent.principal, number), _rename(sent.body.decode(), number).encode()
    )


def _rename(said: str, number: int) -> str:
    for old, new in (
        ("firm-001", f"firm-001.{number}"),
        ("pl-000", f"pl-{number}-000"),
        ("as-000", f"as-{number}-000"),
    ):
        said = said.replace(old, new)
    return said


async def empty(settings: Settings, house: House) -> None:
    """Empty a house's tables, as a rebuild does: an earlier row may have read another log."""
    owner = await asyncpg.connect(
        settings.database_url, server_settings={"search_path": house}, timeout=10
    )
    await rebuild(owner)
    await owner.close()


async def until_applied(settings: Settings, process: Process, reading: Reading) -> None:
    """Return when a house, which runs as `process`, has applied all there is.

    Raises RuntimeError when the process has ended.
    """
    applying = asyncio.create_task(applied(settings, reading, seconds=APPLIED_SECONDS))
    while not applying.done():
        process.check_alive()
        await asyncio.wait({applying}, timeout=1)
    await applying


async def multiply(ground: Ground, settings: Settings, house: House, firms: int) -> None:
    """Copy firm-001 in a house's tables until there are so many firms."""
    owner = await asyncpg.connect(
        settings.database_url, server_settings={"search_path": house}, timeout=10
    )
    await owner.execute(RENAMED)
    await owner.execute("set synchronous_commit = off")
    await owner.execute("set maintenance_work_mem = '1GB'")
    indexes = await _drop_indexes(owner, house)
    for table in TABLES[house]:
        await owner.execute(
            f"create temp table one_{table} as select * from {table} where firm_id = 'firm-001'"
        )
        await owner.execute(f"analyze one_{table}")
        copy = await _copy(owner, house, table)
        for first in range(2, firms + 1, FIRMS_A_STEP):
            last = min(first + FIRMS_A_STEP - 1, firms)
            ground.say(f"{house}: {table}s of firms up to {last} of {firms}")
            await owner.execute(copy, first, last)
    for number, definition in enumerate(indexes, 1):
        ground.say(f"{house}: index {number} of {len(indexes)}")
        await owner.execute(definition)
    ground.say(f"{house}: vacuum and checkpoint, so that neither falls into what is measured")
    for table in TABLES[house]:
        await owner.execute(f"vacuum (analyze) {table}")
    await owner.execute("checkpoint")
    await owner.close()


async def _drop_indexes(owner: Any, house: House) -> list[str]:
    """Drop all indexes and return how to make them again: at the end it is quicker."""
    found = await owner.fetch(
        "select c.conname as name, i.indexname, i.indexdef, i.tablename, "
        "pg_get_constraintdef(c.oid) as rule from pg_indexes i left join pg_constraint c "
        "on c.conname = i.indexname and c.connamespace::regnamespace::text = i.schemaname "
        "where i.schemaname = $1 and i.tablename = any($2::text[])",
        house,
        list(TABLES[house]),
    )
    again = []
    for row in found:
        if row["name"] is None:
            await owner.execute(f"drop index {row['indexname']}")
            again.append(row["indexdef"])
        else:
            await owner.execute(f"alter table {row['tablename']} drop constraint {row['name']}")
            again.append(
                f"alter table {row['tablename']} add constraint {row['name']} {row['rule']}"
            )
    return again


async def _copy(owner: Any, house: House, table: str) -> str:
    """Write the statement that copies firm-001's rows, renamed where one of them names it."""
    columns = await owner.fetch(
        "select column_name as name, data_type as type from information_schema.columns "
        "where table_schema = $1 and table_name = $2 order by ordinal_position",
        house,
        table,
    )
    values = []
    for name, kind in columns:
        quoted = f't."{name}"'
        if kind in {"text", "json"} and await owner.fetchval(
            f"select exists (select 1 from one_{table} t "
            f"where bench.renamed({quoted}::text, 2) <> {quoted}::text)"
        ):
            quoted = f"bench.renamed({quoted}::text, n)::{kind}"
        values.append(quoted)
    names = ", ".join(f'"{name}"' for name, _ in columns)
    return (
        f"insert into {table} ({names}) select {', '.join(values)} "
        f"from one_{table} t cross join generate_series($1::int, $2::int) n"
    )
