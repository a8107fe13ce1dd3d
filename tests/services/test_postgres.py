"""Roles, pools and transactions of one firm or of the office."""

import asyncio
import json
from dataclasses import dataclass

import asyncpg
import pytest

from services.postgres import (
    append_audit,
    borrowed,
    connect,
    firm_transaction,
    office_transaction,
    open_pool,
    role_url,
)

TRAIL = "select firm_id, actor, action, subject, details from audit order by audit_id"


@dataclass
class Person:
    id: str


ANNE = Person("finance:anne")


async def test_a_role_logs_in_to_its_own_schema_with_its_own_deadlines(settings):
    conn = await connect(settings, "metrics", "writer")
    shown = [
        await conn.fetchval(f"show {name}")
        for name in (
            "search_path",
            "timezone",
            "idle_in_transaction_session_timeout",
            "statement_timeout",
            "lock_timeout",
        )
    ]
    assert await conn.fetchval("select current_user") == "turnsheet_metrics_writer"
    assert shown == ["metrics", "UTC", "2s", "1min", "10s"]
    await conn.close()


def test_the_address_of_a_role_carries_its_password_and_keeps_the_rest(settings):
    given = settings.model_copy(
        update={"database_url": "postgresql://own%40er:p%2Fw@[::1]:5433/db?sslmode=require"}
    )
    assert (
        role_url(given, "billing", "firm")
        == "postgresql://turnsheet_billing_firm:role-password-of-the-tests@[::1]:5433/db?sslmode=require"
    )


def test_a_role_that_a_house_does_not_have_has_no_address(settings):
    with pytest.raises(ValueError, match="identity has no role firm"):
        role_url(settings, "identity", "firm")


async def test_what_a_firm_writes_it_sees_and_no_other_firm_does(settings):
    writer = await connect(settings, "metrics", "writer")
    await writer.execute("insert into firm (firm_id) values ('north'), ('south')")
    await writer.close()
    async with await open_pool(settings, "metrics", "firm") as pool:
        async with firm_transaction(pool, "north") as conn:
            assert [row["firm_id"] for row in await conn.fetch("select * from firm")] == ["north"]
        async with firm_transaction(pool, "south") as conn:
            assert [row["firm_id"] for row in await conn.fetch("select * from firm")] == ["south"]


async def test_after_its_transaction_a_connection_sees_no_firm_at_all(settings):
    writer = await connect(settings, "metrics", "writer")
    await writer.execute("insert into firm (firm_id) values ('north')")
    await writer.close()
    async with await open_pool(settings, "metrics", "firm", size=1) as pool:
        async with firm_transaction(pool, "north") as conn:
            assert await conn.fetchval("select count(*) from firm") == 1
        async with pool.acquire() as conn:
            assert await conn.fetchval("select current_setting('turnsheet.firm_id', true)") == ""
            assert await conn.fetchval("select count(*) from firm") == 0


async def test_a_snapshot_does_not_see_what_is_committed_meanwhile(settings):
    writer = await connect(settings, "metrics", "writer")
    async with (
        await open_pool(settings, "metrics", "firm") as pool,
        firm_transaction(pool, "north", snapshot=True) as conn,
    ):
        before = await conn.fetchval("select count(*) from firm")
        await writer.execute("insert into firm (firm_id) values ('north')")
        assert (before, await conn.fetchval("select count(*) from firm")) == (0, 0)
    await writer.close()


async def test_each_use_of_the_office_role_stands_in_the_trail(settings):
    async with await open_pool(settings, "metrics", "office") as pool:
        async with office_transaction(
            pool, ANNE, "read_metrics", subject="2026-07", firm_id="north", details={"rows": 3}
        ):
            pass
        async with office_transaction(pool, ANNE, "read_all") as conn:
            found = [tuple(row) for row in await conn.fetch(TRAIL)]
    assert [(*row[:4], json.loads(row[4])) for row in found] == [
        ("north", "finance:anne", "read_metrics", "2026-07", {"rows": 3}),
        ("*", "finance:anne", "read_all", "", {}),
    ]


async def test_a_trail_row_goes_with_the_change_that_is_rolled_back(settings):
    async with await open_pool(settings, "metrics", "office") as pool:
        with pytest.raises(ZeroDivisionError):
            async with office_transaction(pool, ANNE, "read_metrics"):
                raise ZeroDivisionError
        async with pool.acquire() as conn:
            assert await conn.fetch(TRAIL) == []


async def test_a_firm_puts_its_own_acts_on_the_trail_and_no_others_and_reads_none(settings):
    async with await open_pool(settings, "billing", "firm") as pool:
        async with firm_transaction(pool, "north") as conn:
            await append_audit(conn, ANNE, "approve_week", subject="w28", firm_id="north")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with firm_transaction(pool, "north") as conn:
                await append_audit(conn, ANNE, "approve_week", subject="w28", firm_id="south")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            async with firm_transaction(pool, "north") as conn:
                await conn.fetch(TRAIL)


@pytest.mark.parametrize("role", ["firm", "office", "writer"])
@pytest.mark.parametrize(
    "statement", ["update audit set actor = 'me'", "delete from audit", "truncate audit"]
)
async def test_nobody_changes_the_trail(settings, role, statement):
    conn = await connect(settings, "metrics", role)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await conn.execute(statement)
    await conn.close()


async def test_a_writer_that_stalls_in_its_transaction_loses_it_after_two_seconds(settings):
    stalled = await connect(settings, "metrics", "writer")
    waiting = await connect(settings, "metrics", "writer")
    await stalled.execute("insert into firm (firm_id) values ('north')")
    transaction = stalled.transaction()
    await transaction.start()
    await stalled.execute("update firm set known = true")
    started = asyncio.get_running_loop().time()
    await waiting.execute("update firm set known = true")
    waited = asyncio.get_running_loop().time() - started
    cut_off = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
    with pytest.raises(cut_off):
        await stalled.execute("select 1")
    stalled.terminate()
    await waiting.close()
    assert 1.0 < waited < 6.0


async def test_a_pool_opens_before_its_database_is_there(settings):
    elsewhere = settings.model_copy(update={"database_url": "postgresql://o:p@127.0.0.1:9/none"})
    async with await open_pool(elsewhere, "metrics", "firm") as pool:
        with pytest.raises(OSError, match="Connect call failed"):
            await pool.fetchval("select 1")


async def test_a_connection_cut_between_two_steps_of_a_statement_is_told_as_lost(
    settings, monkeypatch
):
    """The driver prepares, then executes, and does not look whether it is still connected."""
    prepare = vars(asyncpg.Connection)["_get_statement"]

    async def prepare_until_late(conn, *arguments, **more):
        statement = await prepare(conn, *arguments, **more)
        while not conn.is_closed():  # noqa: ASYNC110 (what cuts it sets no event)
            await asyncio.sleep(0.02)
        return statement

    async with await open_pool(settings, "metrics", "firm") as pool:
        with monkeypatch.context() as patch:
            patch.setattr(asyncpg.Connection, "_get_statement", prepare_until_late)
            with pytest.raises(asyncpg.ConnectionDoesNotExistError):
                async with borrowed(pool, 0.3) as conn:
                    await conn.fetch("select $1::int", 1)
        async with borrowed(pool, 5) as conn:
            assert await conn.fetchval("select $1::int", 1) == 1
        with pytest.raises(AttributeError, match="ours"):
            async with borrowed(pool, 5):
                raise AttributeError("ours", name="nothing", obj=None)
