"""Every table of every house: what it is, who sees which of its rows, and what a role may do."""

import re
from pathlib import Path

import asyncpg
import psycopg
import pytest

from services.migrations import HOUSES
from services.postgres import ROLES, connect, role_name
from services.sql import queries

SERVICES = Path(__file__).parent.parent / "services"

# The only tables without a firm, and so without a policy: how far the log was read, records that
# nobody could read, the agency's assistants, who may call, runs over all firms, the issuer's
# numbers, revisions. The firm's role may read none of them but who may call.
WITHOUT_FIRM = {
    "billing.assistant",
    "billing.consumer_offset",
    "billing.quarantine",
    "billing.run",
    "billing.schema_version",
    "billing.series",
    "billing.series_number",
    "identity.principal",
    "identity.schema_version",
    "identity.token",
    "ingest.assistant",
    "ingest.consumer_offset",
    "ingest.quarantine",
    "ingest.schema_version",
    "metrics.assistant",
    "metrics.consumer_offset",
    "metrics.quarantine",
    "metrics.schema_version",
}
SEES_OWN_FIRM = "(firm_id = NULLIF(current_setting('turnsheet.firm_id'::text, true), ''::text))"
ROLE_NAMES = [role_name(house, role) for house in HOUSES for role in ROLES[house]]

TABLES = """
select n.nspname || '.' || c.relname, c.relkind, c.relrowsecurity, c.relforcerowsecurity,
       obj_description(c.oid, 'pg_class'),
       exists (select 1 from pg_attribute a where a.attrelid = c.oid and a.attname = 'firm_id'
               and not a.attisdropped),
       pg_get_userbyid(c.relowner)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = any(%s) and c.relkind in ('r', 'p', 'm', 'f') order by 1
"""


@pytest.fixture
def ask(settings):
    """Ask the catalogue of a migrated database, as its owner."""
    with psycopg.connect(settings.database_url) as conn:
        yield lambda text, *values: conn.execute(text, list(values) or None).fetchall()


@pytest.fixture
def firm_tables(ask):
    return [row[0] for row in ask(TABLES, list(HOUSES)) if row[5]]


def test_only_the_named_tables_have_no_firm(ask):
    assert {row[0] for row in ask(TABLES, list(HOUSES)) if not row[5]} == WITHOUT_FIRM


def test_every_table_is_derived_or_own(ask):
    unclassed = [
        row[0]
        for row in ask(TABLES, list(HOUSES))
        if re.match(r"(derived|own)\b", row[4] or "") is None
    ]
    assert unclassed == []


def test_a_derived_table_is_one_in_every_house_that_has_it(ask):
    classes: dict[str, set[str]] = {}
    for name, *_, comment, _firm, _owner in ask(TABLES, list(HOUSES)):
        classes.setdefault(name.partition(".")[2], set()).add(comment.split(":")[0])
    assert [name for name, found in classes.items() if len(found) > 1] == []


def test_every_table_with_a_firm_has_security_on_and_forced(ask):
    bare = [row[0] for row in ask(TABLES, list(HOUSES)) if row[5] and not (row[2] and row[3])]
    assert bare == []


def test_policies_are_these_three_and_no_others(ask, firm_tables):
    found: dict[str, dict[str, tuple[object, ...]]] = {}
    for schema, table, name, permissive, roles, command, qual, check in ask(
        "select schemaname, tablename, policyname, permissive, roles::text[], cmd, qual, with_check"
        " from pg_policies"
    ):
        found.setdefault(f"{schema}.{table}", {})[name] = (permissive, roles, command, qual, check)

    def wanted(table):
        house = table.partition(".")[0]
        sees = {"firm": SEES_OWN_FIRM, "office": "true", "writer": "true"}
        return {
            role: ("PERMISSIVE", [role_name(house, role)], "ALL", sees[role], sees[role])
            for role in ROLES[house]
        }

    assert found == {table: wanted(table) for table in firm_tables}


def test_every_key_of_a_table_with_a_firm_begins_with_it(ask, firm_tables):
    """A unique key without the firm tells one firm what another has, and blocks its ids."""
    keys = ask(
        """
        select i.indrelid::regclass::text, i.indexrelid::regclass::text,
               (select attname from pg_attribute a
                where a.attrelid = i.indrelid and a.attnum = i.indkey[0])
        from pg_index i join pg_class c on c.oid = i.indrelid
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = any(%s) and (i.indisunique or i.indisexclusion)
        """,
        list(HOUSES),
    )
    strays = [key for table, key, first in keys if table in firm_tables and first != "firm_id"]
    assert strays == []
    assert {table for table, _, _ in keys} >= set(firm_tables), "a table without any key"


def test_a_reference_between_tables_with_a_firm_carries_the_firm(ask, firm_tables):
    references = ask(
        """
        select k.conrelid::regclass::text, k.confrelid::regclass::text, k.conname, array(
            select a.attname::text from pg_attribute a
            where a.attrelid = k.conrelid and a.attnum = any(k.conkey))
        from pg_constraint k join pg_namespace n on n.oid = k.connamespace
        where k.contype = 'f' and n.nspname = any(%s)
        """,
        list(HOUSES),
    )
    assert [
        name
        for table, other, name, columns in references
        if {table, other} <= set(firm_tables) and "firm_id" not in columns
    ] == []


def test_no_schema_refers_to_another(ask):
    crossing = ask(
        """
        select k.conname from pg_constraint k
        join pg_class a on a.oid = k.conrelid join pg_class b on b.oid = k.confrelid
        where k.contype = 'f' and a.relnamespace <> b.relnamespace
        """
    )
    assert crossing == []


def test_no_role_owns_anything_or_can_pass_a_policy(ask):
    roles = ask(
        """
        select rolname, rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb,
               rolreplication,
               exists (select 1 from pg_auth_members m where m.member = r.oid),
               exists (select 1 from pg_class c where c.relowner = r.oid)
               or exists (select 1 from pg_namespace n where n.nspowner = r.oid)
               or exists (select 1 from pg_proc p where p.proowner = r.oid)
        from pg_roles r where rolname ~ '^turnsheet_'
        """
    )
    assert {row[0] for row in roles} == set(ROLE_NAMES)
    assert {row[1:] for row in roles} == {(True, *[False] * 7)}


def test_nothing_in_the_schemas_goes_round_the_policies(ask):
    materialised = [row[0] for row in ask(TABLES, list(HOUSES)) if row[1] != "r"]
    definers = ask(
        "select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname = any(%s) and p.prosecdef",
        list(HOUSES),
    )
    views = ask(
        "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = any(%s) and c.relkind = 'v'"
        " and not coalesce(c.reloptions, '{}') && array['security_invoker=true']",
        list(HOUSES),
    )
    assert (materialised, definers, views) == ([], [], [])


def privileges(ask):
    """Give {(role, table): privileges} of our roles, the whole and columns alike."""
    found: dict[tuple[str, str], set[str]] = {}
    for role, table, privilege in ask(
        """
        select r.rolname, n.nspname || '.' || c.relname, g.privilege_type
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        cross join lateral (
            select grantee, privilege_type from aclexplode(c.relacl)
            union
            select x.grantee, x.privilege_type from pg_attribute a, aclexplode(a.attacl) x
            where a.attrelid = c.oid) g
        left join pg_roles r on r.oid = g.grantee
        where n.nspname = any(%s) and c.relkind = 'r'
          and (g.grantee = 0 or r.rolname ~ '^turnsheet_')
        """,
        list(HOUSES),
    ):
        found.setdefault((role, table), set()).add(privilege)
    return found


def test_a_role_reaches_into_no_other_house_but_to_read_who_calls(ask):
    strays = [
        (role, table)
        for role, table in privileges(ask)
        if role is None or role.split("_")[1] != table.partition(".")[0]
    ]
    assert sorted(strays) == [
        (f"turnsheet_{house}_firm", f"identity.{table}")
        for house in ("billing", "ingest", "metrics")
        for table in ("principal", "token")
    ]


def test_what_is_decided_can_be_deleted_by_no_role(ask):
    own = {row[0] for row in ask(TABLES, list(HOUSES)) if row[4].startswith("own")}
    strays = {
        place: found & {"DELETE", "TRUNCATE", "TRIGGER", "REFERENCES"}
        for place, found in privileges(ask).items()
        if place[1] in own and found & {"DELETE", "TRUNCATE", "TRIGGER", "REFERENCES"}
    }
    assert strays == {}


def test_only_a_writer_touches_what_comes_from_the_log(ask):
    derived = {row[0] for row in ask(TABLES, list(HOUSES)) if row[4].startswith("derived")}
    strays = {
        place: found
        for place, found in privileges(ask).items()
        if place[1] in derived and not place[0].endswith("_writer") and found != {"SELECT"}
    }
    assert strays == {}


def test_a_firm_reads_no_table_without_a_firm_but_to_know_who_calls(ask):
    strays = {
        table for role, table in privileges(ask) if role.endswith("_firm") and table in WITHOUT_FIRM
    }
    assert strays == {"identity.principal", "identity.token"}


def test_the_trail_is_only_ever_added_to(ask):
    found = {
        (role.rpartition("_")[2], table.partition(".")[2]): rights
        for (role, table), rights in privileges(ask).items()
        if table.endswith(".audit")
    }
    assert found == {
        ("firm", "audit"): {"INSERT"},
        ("office", "audit"): {"INSERT", "SELECT"},
        ("writer", "audit"): {"INSERT", "SELECT"},
    }


def statements():
    """Pair each file of named statements with the houses whose schema it is for."""
    for path in sorted(SERVICES.rglob("*.sql")):
        if "-- name:" not in path.read_text(encoding="utf-8"):
            continue
        home = path.relative_to(SERVICES).parts[0]
        homes = {"web": ("identity",)}.get(home, ("ingest", "metrics", "billing"))
        for house in (home,) if home in HOUSES else homes:
            yield pytest.param(path, house, id=f"{path.relative_to(SERVICES)}-{house}")


@pytest.mark.parametrize(("path", "house"), list(statements()))
async def test_every_statement_can_be_prepared(settings, path, house):
    conn = await connect(settings, house, "writer")
    refused = {}
    for name, statement in queries(path).items():
        try:
            await conn.prepare(statement)
        except asyncpg.PostgresError as error:
            refused[name] = str(error)
    await conn.close()
    assert refused == {}
