"""A statement that forgets its WHERE still sees, changes and counts one firm only."""

from collections.abc import Sequence

import asyncpg
import psycopg
import pytest
from psycopg import sql

from services.postgres import (
    ROLES,
    Connection,
    House,
    firm_transaction,
    office_transaction,
    open_pool,
)

HOUSES = [house for house, roles in ROLES.items() if "firm" in roles]
FIRMS = ("north", "south")
VALUES = {
    "text": "'x'",
    "integer": "1",
    "bigint": "1",
    "smallint": "1",
    "uuid": "gen_random_uuid()",
    "date": "'2026-07-01'",
    "boolean": "false",
    "timestamp with time zone": "'2026-07-01T00:00:00Z'",
}


class Auditor:
    id = "auditor:test"


@pytest.fixture
def firm_tables(settings):
    """Give every table with a firm a row of each firm, by house; what its rows mean is no matter.

    Constraints other than keys are dropped first, as the owner, so that a row needs only its key.
    """
    found: dict[str, list[str]] = {house: [] for house in HOUSES}
    with psycopg.connect(settings.database_url) as conn:
        for house, table in conn.execute(
            "select table_schema, table_name from information_schema.columns c"
            " join information_schema.tables t using (table_schema, table_name)"
            " where column_name = 'firm_id' and t.table_type = 'BASE TABLE'"
            " and table_schema = any(%s) order by 2",
            [HOUSES],
        ).fetchall():
            found[house].append(table)
            strip(conn, house, table)
        for house, tables in found.items():
            for table in tables:
                fill(conn, house, table)
    return found


def strip(conn: psycopg.Connection, house: str, table: str) -> None:
    name = sql.Identifier(house, table)
    for (constraint,) in conn.execute(
        "select conname from pg_constraint where conrelid = %s::regclass and contype in ('c', 'f')",
        [name.as_string(conn)],
    ).fetchall():
        conn.execute(
            sql.SQL("alter table {} drop constraint {}").format(name, sql.Identifier(constraint))
        )
    conn.execute(sql.SQL("alter table {} disable trigger user").format(name))
    for (column,) in conn.execute(
        "select attname from pg_attribute a where attrelid = %s::regclass and attnum > 0"
        " and attnotnull and attidentity = '' and attgenerated = '' and not exists ("
        "   select 1 from pg_index i where i.indrelid = a.attrelid and i.indisprimary"
        "   and a.attnum = any(i.indkey))",
        [name.as_string(conn)],
    ).fetchall():
        conn.execute(
            sql.SQL("alter table {} alter column {} drop not null").format(
                name, sql.Identifier(column)
            )
        )


def fill(conn: psycopg.Connection, house: str, table: str) -> None:
    name = sql.Identifier(house, table)
    keys = conn.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute a"
        " join pg_index i on i.indrelid = a.attrelid and i.indisprimary"
        " and a.attnum = any(i.indkey)"
        " where attrelid = %s::regclass and attidentity = '' and attname <> 'firm_id'",
        [name.as_string(conn)],
    ).fetchall()
    columns = sql.SQL(", ").join(sql.Identifier(key) for key in ("firm_id", *(k for k, _ in keys)))
    for firm in FIRMS:
        values = sql.SQL(", ").join(
            [sql.Literal(firm), *(sql.SQL(VALUES[kind]) for _, kind in keys)]
        )
        conn.execute(sql.SQL("insert into {} ({}) values ({})").format(name, columns, values))


async def firms_seen(conn: Connection, house: str, table: str) -> set[str] | None:
    """Say whose rows a statement without a WHERE reads; None when the role may not read at all."""
    if not await conn.fetchval("select has_table_privilege($1, 'select')", f"{house}.{table}"):
        return None
    rows = await conn.fetch('select firm_id from "{}"'.format(table))  # noqa: S608, UP032 (ours)
    return {row["firm_id"] for row in rows}


async def leaks(settings, house: House, tables: Sequence[str]) -> list[str]:
    """List the tables of which north's transaction sees anything but north's own rows."""
    found = []
    async with await open_pool(settings, house, "firm") as pool:
        for table in tables:
            async with firm_transaction(pool, "north") as conn:
                seen = await firms_seen(conn, house, table)
            if seen != {"north"} and (seen is not None or table != "audit"):
                found.append(f"{house}.{table}")
    return found


@pytest.mark.parametrize("house", HOUSES)
async def test_a_read_without_its_where_sees_one_firm_only(settings, firm_tables, house):
    assert await leaks(settings, house, firm_tables[house]) == []


async def test_with_security_off_the_same_look_finds_the_leak(settings, firm_tables):
    with psycopg.connect(settings.database_url) as conn:
        conn.execute("alter table metrics.fact disable row level security")
    assert await leaks(settings, "metrics", firm_tables["metrics"]) == ["metrics.fact"]


@pytest.mark.parametrize("house", HOUSES)
async def test_without_a_firm_named_nothing_is_seen(settings, firm_tables, house):
    async with await open_pool(settings, house, "firm") as pool, pool.acquire() as conn:
        for table in firm_tables[house]:
            assert not await firms_seen(conn, house, table)


@pytest.mark.parametrize("house", HOUSES)
async def test_a_firm_can_neither_write_nor_move_a_row_to_another(settings, firm_tables, house):
    for statement in (
        "insert into \"{}\" (firm_id) values ('south')",
        "update \"{}\" set firm_id = 'south'",
    ):
        async with await open_pool(settings, house, "firm") as pool:
            for table in firm_tables[house]:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    async with firm_transaction(pool, "north") as conn:
                        await conn.execute(statement.format(table))


@pytest.mark.parametrize("house", HOUSES)
async def test_a_change_without_its_where_touches_one_firm_only(settings, firm_tables, house):
    """Whatever a grant lets the firm's role change or delete, only its own rows are there."""
    async with await open_pool(settings, house, "firm") as pool:
        for table in firm_tables[house]:
            for privilege, statement in (
                ("update", 'update "{}" set firm_id = firm_id'),
                ("delete", 'delete from "{}"'),
            ):
                async with firm_transaction(pool, "north") as conn:
                    if await conn.fetchval(
                        "select has_table_privilege($1, $2)", f"{house}.{table}", privilege
                    ):
                        done = await conn.execute(statement.format(table))
                        assert done.rpartition(" ")[2] == "1"


@pytest.mark.parametrize("house", HOUSES)
async def test_the_office_sees_all_firms(settings, firm_tables, house):
    async with await open_pool(settings, house, "office") as pool:
        for table in firm_tables[house]:
            async with office_transaction(pool, Auditor(), "look") as conn:
                seen = await firms_seen(conn, house, table)
            assert seen is not None
            assert seen >= set(FIRMS)


async def test_a_firm_named_in_one_transaction_is_forgotten_in_the_next(settings, firm_tables):
    async with await open_pool(settings, "metrics", "firm", size=1) as pool:
        async with firm_transaction(pool, "north") as conn:
            assert await firms_seen(conn, "metrics", "firm") == {"north"}
        async with firm_transaction(pool, "south") as conn:
            assert await firms_seen(conn, "metrics", "firm") == {"south"}
        async with pool.acquire() as conn, conn.transaction():
            assert await firms_seen(conn, "metrics", "firm") == set()


async def test_an_empty_name_is_no_firm(settings, firm_tables):
    async with (
        await open_pool(settings, "metrics", "firm") as pool,
        firm_transaction(pool, "") as conn,
    ):
        assert await firms_seen(conn, "metrics", "firm") == set()
