"""Walls in the database: login roles, row-level security and grants, the same for every house."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from services.postgres import ROLES, House, role_name

_CLASS: Final = re.compile(r"(derived|own)\b")
_ATTEMPTS: Final = 20
_SEES_OWN_FIRM: Final = sql.SQL("firm_id = nullif(current_setting('turnsheet.firm_id', true), '')")
_SEES_ALL: Final = sql.SQL("true")


class UnclassedTableError(ValueError):
    """A table's comment does not say whether it is derived or own."""


class Table(NamedTuple):
    """A table or view of a house, as the catalogue knows it."""

    name: str
    is_view: bool
    comment: str
    has_firm: bool

    @property
    def is_derived(self) -> bool:
        """Say whether the log alone makes this table."""
        return self.comment.startswith("derived")


def ensure_roles(conn: psycopg.Connection, password: str) -> None:
    """Create or correct the login roles of all houses: never owner, superuser or beyond policies.

    Roles belong to the whole cluster, where no lock of one database reaches: a collision with
    another migration is tried again.
    """
    for house, roles in ROLES.items():
        for role in roles:
            name = role_name(house, role)
            verifier = conn.pgconn.encrypt_password(
                password.encode(), name.encode(), b"scram-sha-256"
            )
            for attempt in range(_ATTEMPTS):
                try:
                    _ensure_role(conn, name, verifier.decode())
                    break
                except (psycopg.errors.UniqueViolation, psycopg.errors.InternalError_):
                    conn.rollback()
                    if attempt == _ATTEMPTS - 1:
                        raise


def _ensure_role(conn: psycopg.Connection, name: str, verifier: str) -> None:
    known = conn.execute("select 1 from pg_roles where rolname = %s", [name]).fetchone()
    verb: LiteralString = "alter" if known else "create"
    conn.execute(
        sql.SQL(verb + " role {} login noinherit password {}").format(
            sql.Identifier(name), sql.Literal(verifier)
        )
    )
    conn.commit()


def ensure_extensions(conn: psycopg.Connection) -> None:
    """Create what exclusion constraints over texts and ranges need; any owner of a database may."""
    conn.execute("create extension if not exists btree_gist with schema public")
    conn.commit()


def enter_schema(conn: psycopg.Connection, house: House) -> None:
    """Create the house's schema, and let bare names mean it on this connection."""
    schema = sql.Identifier(house)
    conn.execute(sql.SQL("create schema if not exists {}").format(schema))
    conn.execute("select set_config('search_path', %s, false)", [house])
    conn.commit()


def raise_walls(conn: psycopg.Connection, house: House, grants: Path) -> None:
    """Put row-level security on every table with a firm, and give each role what it may do."""
    with conn.transaction():
        conn.execute("select set_config('search_path', %s, false)", [house])
        conn.execute("comment on table schema_version is 'own'")
        tables = load_tables(conn, house)
        for table in tables:
            if table.has_firm and not table.is_view:
                _protect(conn, house, table)
        _grant(conn, house, tables)
        if grants.exists():
            conn.execute(grants.read_bytes())


def load_tables(conn: psycopg.Connection, house: House) -> list[Table]:
    """List a house's tables. Raises UnclassedTableError for one that is neither derived nor own."""
    rows = conn.execute(
        """
        select c.relname, c.relkind = 'v', coalesce(obj_description(c.oid, 'pg_class'), ''),
               exists (select 1 from pg_attribute a where a.attrelid = c.oid
                       and a.attname = 'firm_id' and not a.attisdropped)
        from pg_class c
        where c.relnamespace = %s::regnamespace and c.relkind in ('r', 'p', 'v')
        order by c.relname
        """,
        [house],
    ).fetchall()
    tables = [Table(*row) for row in rows]
    for table in tables:
        if not table.is_view and _CLASS.match(table.comment) is None:
            raise UnclassedTableError(
                f"{house}.{table.name}: comment on table must begin with 'derived' or 'own'"
            )
    return tables


def _protect(conn: psycopg.Connection, house: House, table: Table) -> None:
    name = sql.Identifier(house, table.name)
    on = conn.execute(
        """
        select relrowsecurity and relforcerowsecurity, array(
            select polname::text from pg_policy where polrelid = c.oid)
        from pg_class c where c.oid = format('%%I.%%I', %s::text, %s::text)::regclass
        """,
        [house, table.name],
    ).fetchone()
    assert on is not None
    secured, policies = on
    if not secured:
        conn.execute(sql.SQL("alter table {} enable row level security").format(name))
        conn.execute(sql.SQL("alter table {} force row level security").format(name))
    for role in ROLES[house]:
        if role not in policies:
            conn.execute(
                sql.SQL(
                    "create policy {} on {} for all to {} using ({sees}) with check ({sees})"
                ).format(
                    sql.Identifier(role),
                    name,
                    sql.Identifier(role_name(house, role)),
                    sees=_SEES_OWN_FIRM if role == "firm" else _SEES_ALL,
                )
            )


def _grant(conn: psycopg.Connection, house: House, tables: Sequence[Table]) -> None:
    schema = sql.Identifier(house)
    conn.execute(sql.SQL("revoke all on schema {} from public").format(schema))
    for role in ROLES[house]:
        login = sql.Identifier(role_name(house, role))
        conn.execute(sql.SQL("revoke all on all tables in schema {} from {}").format(schema, login))
        conn.execute(sql.SQL("grant usage on schema {} to {}").format(schema, login))
        for table in tables:
            for privilege in _privileges(role, table):
                conn.execute(
                    sql.SQL("grant " + privilege + " on {} to {}").format(
                        sql.Identifier(house, table.name), login
                    )
                )


def _privileges(role: str, table: Table) -> tuple[LiteralString, ...]:
    """Say what a role may do on a table, before the house's own grants."""
    if table.name == "schema_version":
        return ()
    if table.is_view:
        return ("select",)
    if role == "writer":
        # A rebuild truncates what comes from the log alone, and nothing else.
        return (
            ("select, insert, update, delete, truncate",)
            if table.is_derived
            else ("select, insert",)
        )
    if table.name == "audit":
        return ("insert",) if role == "firm" else ("select, insert",)
    if role == "firm" and not table.has_firm:
        return ()
    return ("select",)
