"""Migrations: once, again, side by side, and by an owner who is no superuser."""

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from services.migrations import HOUSES, folder_of, migrate
from services.migrations.walls import UnclassedTableError, raise_walls
from services.postgres import connect
from services.settings import Settings, SettingsRefused
from tests.servers import ROLE_PASSWORD, addresses, fresh_database

SHAPE = """
select n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       array(select unnest(c.relacl)::text order by 1), c.relforcerowsecurity
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where n.nspname = any(%s) and c.relkind = 'r' order by 1, 2, 3
"""


@pytest.fixture
def empty():
    """Give an empty database's settings."""
    with fresh_database(template="template1") as url:
        yield Settings(database_url=url, database_role_password=ROLE_PASSWORD)


def shape(settings: Settings) -> list[tuple[object, ...]]:
    with psycopg.connect(settings.database_url) as conn:
        return conn.execute(SHAPE, [list(HOUSES)]).fetchall()


def test_a_second_run_changes_nothing(empty):
    migrate(empty)
    first = shape(empty)
    migrate(empty)
    assert shape(empty) == first
    assert {row[0] for row in first} == set(HOUSES)


def test_runs_side_by_side_wait_for_each_other(empty):
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(migrate, empty) for _ in range(4)]:
            done.result()
    assert {row[0] for row in shape(empty)} == set(HOUSES)


def test_a_database_cloned_from_a_migrated_one_is_migrated(settings):
    before = shape(settings)
    migrate(settings)
    assert shape(settings) == before


def test_every_instant_keeps_its_zone(settings):
    naive = [row[:4] for row in shape(settings) if str(row[3]).startswith("timestamp without")]
    assert naive == []


def test_each_house_counts_its_revisions_in_its_own_schema(settings):
    with psycopg.connect(settings.database_url) as conn:
        for house in HOUSES:
            newest = max(path.name[1:5] for path in folder_of(house).glob("r[0-9]*.py"))
            found = conn.execute(
                sql.SQL("select version_num from {}").format(
                    sql.Identifier(house, "schema_version")
                )
            ).fetchall()
            assert found == [(newest,)]


def test_each_revision_follows_the_one_before_it(settings):
    for house in HOUSES:
        numbers = sorted(path.name[1:5] for path in folder_of(house).glob("r[0-9]*.py"))
        assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


def test_a_table_that_does_not_say_what_it_is_stops_the_migration(settings):
    with psycopg.connect(settings.database_url) as conn:
        conn.execute("create table metrics.stray (firm_id text)")
        with pytest.raises(UnclassedTableError, match=r"metrics\.stray"):
            raise_walls(conn, "metrics", folder_of("metrics") / "grants.sql")


def test_roles_without_a_password_are_not_made(settings):
    bare = settings.model_copy(
        update={"database_role_password": type(settings.database_role_password)("")}
    )
    with pytest.raises(SettingsRefused, match="TURNSHEET_DATABASE_ROLE_PASSWORD"):
        migrate(bare)


async def test_roles_log_in_by_password_only(settings):
    conn = await connect(settings, "billing", "firm")
    await conn.close()
    wrong = settings.model_copy(
        update={"database_role_password": type(settings.database_role_password)("guess")}
    )
    with pytest.raises(Exception, match="password authentication failed"):
        await connect(wrong, "billing", "firm")


@pytest.fixture
def owned() -> Iterator[Settings]:
    """Give an empty database of an owner who may create roles and is no superuser."""
    admin = addresses()["postgres"]
    owner = f"owner_{secrets.token_hex(4)}"
    name = f"db_{owner}"
    parts = urlsplit(admin)
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute(
            sql.SQL("create role {} login createrole password 'pw'").format(sql.Identifier(owner))
        )
        conn.execute(
            sql.SQL("create database {} owner {}").format(
                sql.Identifier(name), sql.Identifier(owner)
            )
        )
        for row in conn.execute(
            "select rolname from pg_roles where rolname ~ '^turnsheet_'"
        ).fetchall():
            conn.execute(
                sql.SQL("grant {} to {} with admin true, inherit false").format(
                    sql.Identifier(row[0]), sql.Identifier(owner)
                )
            )
    place = parts.netloc.rpartition("@")[2]
    yield Settings(
        database_url=urlunsplit(parts._replace(netloc=f"{owner}:pw@{place}", path=f"/{name}")),
        database_role_password=ROLE_PASSWORD,
    )
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        conn.execute(sql.SQL("drop owned by {}").format(sql.Identifier(owner)))
        conn.execute(sql.SQL("drop role {}").format(sql.Identifier(owner)))


def test_an_owner_who_may_create_roles_needs_to_be_no_superuser(owned):
    """On a cluster of one's own superuser there is nothing to prove: this owner has less."""
    migrate(owned)
    first = shape(owned)
    migrate(owned)
    assert shape(owned) == first != []


def test_tasks_of_before_are_told_until_when_they_were_open(owned):
    migrate(owned)
    stories = {
        "a": "requested assigned submitted accepted",
        "b": "requested in_progress",
        "c": "requested submitted changes_requested submitted",
        "d": "requested submitted accepted in_progress",
        "e": "requested cancelled",
    }
    superuser = urlsplit(addresses()["postgres"])._replace(path=urlsplit(owned.database_url).path)
    with psycopg.connect(urlunsplit(superuser)) as conn:
        conn.execute("set search_path to metrics")
        conn.execute("alter table task drop open_until, add closed_at timestamptz")
        conn.execute("create index task_closed on task (firm_id, closed_at)")
        conn.execute("update schema_version set version_num = '0003'")
        for task_id, story in stories.items():
            states = [
                {"state": state, "since": f"2026-07-01T12:0{minute}:00Z"}
                for minute, state in enumerate(story.split())
            ]
            conn.execute(
                "insert into task (firm_id, task_id, placement_id, present, first_at, state)"
                " values ('firm-1', %s, 'pl-1', %s, '2026-07-01 12:00Z', %s)",
                [task_id, story.split()[-1], json.dumps({"task": {"states": states}})],
            )
    migrate(owned)
    with psycopg.connect(urlunsplit(superuser)) as conn:
        found = conn.execute("select task_id, open_until from metrics.task").fetchall()
    noon = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert dict(found) == {
        "a": noon + timedelta(minutes=2),
        "b": None,
        "c": noon + timedelta(minutes=3),
        "d": None,
        "e": noon + timedelta(minutes=1),
    }


def test_entries_of_before_there_were_outlines_get_theirs(owned):
    migrate(owned)
    state = {
        "version": "v1",
        "started_at": "2026-07-01T14:00:00Z",
        "ended_at": "2026-07-01T14:30:00Z",
        "duration_seconds": 1800,
    }
    bare = {"version": "v2", "started_at": None, "ended_at": None, "duration_seconds": None}
    rows = [
        ("a", json.dumps(state), json.dumps([{"service_date": "2026-07-01"}])),
        ("b", json.dumps(bare), "[]"),
    ]
    superuser = urlsplit(addresses()["postgres"])._replace(path=urlsplit(owned.database_url).path)
    with psycopg.connect(urlunsplit(superuser)) as conn:
        conn.execute("set search_path to billing")
        conn.execute("drop index entry_of_date, invoice_of_id, invoice_of_number")
        conn.execute("create index entry_of_assistant on entry (assistant_id)")
        conn.execute("alter table entry alter version drop not null, alter seconds drop not null")
        conn.execute("update schema_version set version_num = '0005'")
        with conn.cursor() as cursor:
            cursor.executemany(
                "insert into entry (firm_id, entry_id, placement_id, state, segments)"
                " values ('firm-1', %s, 'pl-1', %s, %s)",
                rows,
            )
    migrate(owned)
    with psycopg.connect(urlunsplit(superuser)) as conn:
        found = conn.execute(
            "select entry_id, version, started_at, ended_at, seconds, service_date, work"
            " from billing.entry order by 1"
        ).fetchall()
    start = datetime(2026, 7, 1, 14, tzinfo=UTC)
    assert found == [
        ("a", "v1", start, start + timedelta(minutes=30), 1800, date(2026, 7, 1), None),
        ("b", "v2", None, None, 0, None, None),
    ]
