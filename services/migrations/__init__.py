"""Migrations: bring each house's schema to its newest revision, then raise its walls.

How a house adds to its schema, for example metrics:

1. SQL goes to a plain file beside its revision: `services/metrics/migrations/0002_tasks.sql`.
   The search path is the house's schema, so names stand bare. Every instant is `timestamptz`.
2. `services/metrics/migrations/r0002_tasks.py` names and applies it:

       '''Tasks, as folded out of their facts.'''
       from services.migrations import apply

       revision = "0002"
       down_revision = "0001"

       def upgrade() -> None:
           apply(__file__, "0002_tasks.sql")

3. Each table says what it is: `comment on table task is 'derived'` (out of the log, a rebuild
   truncates it) or `'own'` (decisions and reference data, append-only). `migrate` refuses others.
4. A table with a column firm_id gets row-level security by itself: the firm role sees the firm of
   its transaction, office and writer see all. Primary and unique keys begin with firm_id.
   A table without one has no policy; `tests/test_catalogue.py` names those few.
5. Grants come by themselves: firm and office `select` (firm: tables with firm_id only, and not the
   trail) and `insert` on audit; writer everything on derived tables, `select, insert` on own ones.
   What a house needs beyond that stands in `services/metrics/migrations/grants.sql`, run after each
   migration: `grant insert on approval to turnsheet_metrics_firm;`

The extension btree_gist is there, for exclusion constraints such as `exclude using gist
(firm_id with =, valid with &&)`.

Revisions are never edited once released, there is no way down, and all SQL runs on Postgres 15-18.
"""

from pathlib import Path
from typing import Final

import psycopg
from alembic import command, op
from alembic.config import Config
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from services.migrations import walls
from services.postgres import ROLES, House
from services.settings import Settings, SettingsRefused

SERVICES: Final = Path(__file__).parent.parent
HOUSES: Final[tuple[House, ...]] = tuple(ROLES)
_LOCK: Final = 7_202_607_001


def folder_of(house: House) -> Path:
    """Say where a house keeps its revisions."""
    if house == "identity":
        return SERVICES / "migrations" / "identity"
    return SERVICES / house / "migrations"


def apply(beside: str, name: str) -> None:
    """Run a plain SQL file from a revision: `apply(__file__, "0002_tasks.sql")`."""
    text = (Path(beside).parent / name).read_text(encoding="utf-8")
    driver = op.get_bind().connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    # Without parameters the driver sends the file as it is, all statements of it.
    driver.execute(text.encode())


def apply_shared(name: str) -> None:
    """Run a file of the corridor, like `log.sql`, in the schema of the revision's house."""
    apply(str(SERVICES / "here"), name)


def migrate(settings: Settings) -> None:
    """Bring the database to the newest revision of every house; a second run changes nothing.

    Runs as the database's owner, who may create roles. Parallel runs wait for each other. Raises
    SettingsRefused without a password for the roles, and psycopg's OperationalError when the
    database does not answer.
    """
    password = settings.database_role_password.get_secret_value()
    if not password:
        raise SettingsRefused("TURNSHEET_DATABASE_ROLE_PASSWORD is not set: the roles need one")
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(settings.database_url, connect_timeout=5),
        poolclass=NullPool,
    )
    try:
        with engine.connect() as connection:
            _migrate(connection, password)
    except OperationalError as error:
        raise error.orig or error from error


def _migrate(connection: Connection, password: str) -> None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    driver.execute("select pg_advisory_lock(%s)", [_LOCK])
    driver.commit()
    try:
        walls.ensure_roles(driver, password)
        walls.ensure_extensions(driver)
        for house in HOUSES:
            walls.enter_schema(driver, house)
            command.upgrade(_config(house, connection), "head")
            connection.commit()
        for house in HOUSES:
            walls.raise_walls(driver, house, folder_of(house) / "grants.sql")
    finally:
        driver.rollback()
        driver.execute("select pg_advisory_unlock(%s)", [_LOCK])
        driver.commit()


def _config(house: House, connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", _escaped(SERVICES / "migrations"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", _escaped(folder_of(house)))
    config.attributes["connection"] = connection
    config.attributes["house"] = house
    return config


def _escaped(path: Path) -> str:
    """Double the percent signs: alembic's options are interpolated."""
    return str(path).replace("%", "%%")
