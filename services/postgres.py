"""Postgres: one pool per role, and transactions that see one firm, or all of them on the record.

A house speaks through three login roles. `firm` sees the rows of one firm at a time, `office` sees
all firms and leaves an audit row at each use, `writer` is for consumers and jobs. A pool never
changes its role, and a firm is named only inside a transaction, so nothing outlives a release.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import structlog

from services.settings import Settings
from services.sql import queries

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

House = Literal["identity", "ingest", "metrics", "billing"]
Role = Literal["firm", "office", "writer"]
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

ROLES: Final[Mapping[House, tuple[Role, ...]]] = {
    "identity": ("writer",),
    "ingest": ("firm", "office", "writer"),
    "metrics": ("firm", "office", "writer"),
    "billing": ("firm", "office", "writer"),
}
CONNECT_SECONDS = 5.0
LOOK_SECONDS = 3.0  # for one indexed row, the wait for a connection included
TRANSACTION_SECONDS = 14.0  # for all statements of a request, likewise; less than its deadline
RELEASE_SECONDS = 1.0
CLOSE_SECONDS = 1.0

_TIMEOUTS: Final[Mapping[Role | Literal["look"], Mapping[str, str]]] = {
    # A request is answered within 15 s or not at all. What a look asks for is a row or a few: a
    # database that is merely slow ends it itself, before its connection is cut.
    "look": {"statement_timeout": "2s", "lock_timeout": "2s", "transaction": "2s"},
    "firm": {"statement_timeout": "12s", "lock_timeout": "5s", "transaction": "5s"},
    "office": {"statement_timeout": "12s", "lock_timeout": "5s", "transaction": "5s"},
    # A paused consumer must lose its row locks before its successor gives up.
    "writer": {"statement_timeout": "60s", "lock_timeout": "10s", "transaction": "2s"},
}
_SQL = queries(Path(__file__).with_name("postgres.sql"))
# The server is away, or says no: hold what is being done and try again. TimeoutError is an OSError.
STORE_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
log = structlog.get_logger()


class Actor(Protocol):
    """Whoever acts; `id` is `role:id`."""

    @property
    def id(self) -> str:
        """Name the actor as the audit trail does."""


def role_name(house: House, role: Role) -> str:
    """Name the login role of a house."""
    if role not in ROLES[house]:
        raise ValueError(f"{house} has no role {role}")
    return f"turnsheet_{house}_{role}"


def role_url(settings: Settings, house: House, role: Role) -> str:
    """Write the database's address for one role of a house; it holds a password."""
    parts = urlsplit(settings.database_url)
    place = parts.netloc.rpartition("@")[2]
    password = settings.database_role_password.get_secret_value()
    login = f"{role_name(house, role)}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{login}@{place}"))


async def open_pool(
    settings: Settings, house: House, role: Role, *, size: int = 8, looks: bool = False
) -> Pool:
    """Open a pool that connects when first used, so that a service starts before its database.

    One for `looks` is for short reads only, which no long statement of others is to hold up; they
    leave nothing behind in their session, so that no statement is spent on clearing it.
    """
    pool = await asyncpg.create_pool(
        role_url(settings, house, role),
        min_size=0,
        max_size=size,
        timeout=CONNECT_SECONDS,
        server_settings=_server_settings(house, role, looks=looks),
        reset=_leave if looks else None,
    )
    assert pool is not None
    return pool


async def _leave(conn: Connection) -> None:
    """Leave a session as it is; the driver has ended a transaction that was left open."""


async def close_pool(pool: Pool) -> None:
    """Close a pool's connections, those that do not answer without a word."""
    with suppress(*STORE_ERRORS):  # a pool that is not closed in time is ended by its own doing
        async with asyncio.timeout(CLOSE_SECONDS):
            await pool.close()


@asynccontextmanager
async def borrowed(pool: Pool, seconds: float) -> AsyncIterator[Connection]:
    """Lend a connection for so many seconds at most, the wait for it included.

    A frozen server answers nothing and refuses nothing, and neither a cancelled statement nor a
    return to the pool would ever end: so when the time is up the connection is cut, whoever waits
    for it gets a `ConnectionDoesNotExistError`, and its place in the pool is free again.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    conn = await pool.acquire(timeout=seconds)
    cut = loop.call_at(until, conn.terminate)
    try:
        with told_as_lost(lambda: loop.time() >= until):
            yield conn
    finally:
        cut.cancel()
        try:
            await pool.release(conn, timeout=RELEASE_SECONDS)
        except STORE_ERRORS as error:  # what was done on it is done: its caller knows how
            log.warning("connection_lost", reason=type(error).__name__)


@contextmanager
def told_as_lost(is_cut: Callable[[], bool]) -> Iterator[None]:
    """Raise `ConnectionDoesNotExistError` for what the driver trips over when it was cut off.

    Between two steps of a statement it does not look whether its connection is still there.
    """
    try:
        yield
    except AttributeError as error:
        if error.obj is not None or not is_cut():
            raise
        raise asyncpg.ConnectionDoesNotExistError("the connection was cut") from error


async def connect(settings: Settings, house: House, role: Role) -> Connection:
    """Open a dedicated connection: a consumer task and a job keep one each."""
    return await asyncpg.connect(
        role_url(settings, house, role),
        timeout=CONNECT_SECONDS,
        server_settings=_server_settings(house, role),
    )


def _server_settings(house: House, role: Role, *, looks: bool = False) -> dict[str, str]:
    timeouts = _TIMEOUTS["look" if looks else role]
    return {
        "application_name": role_name(house, role),
        "search_path": house,
        "timezone": "UTC",
        "statement_timeout": timeouts["statement_timeout"],
        "lock_timeout": timeouts["lock_timeout"],
        "idle_in_transaction_session_timeout": timeouts["transaction"],
    }


@asynccontextmanager
async def firm_transaction(
    pool: Pool, firm_id: str, *, snapshot: bool = False
) -> AsyncIterator[Connection]:
    """Run a transaction of the firm role: it sees and writes this firm's rows and no others.

    `snapshot` gives all its statements one view of the data, for answers made of several reads.
    """
    isolation: Literal["repeatable_read", "read_committed"] = (
        "repeatable_read" if snapshot else "read_committed"
    )
    async with (
        borrowed(pool, TRANSACTION_SECONDS) as conn,
        conn.transaction(isolation=isolation),
    ):
        await conn.execute(_SQL.choose_firm, firm_id)
        yield conn


@asynccontextmanager
async def office_transaction(
    pool: Pool,
    actor: Actor,
    action: str,
    *,
    subject: str = "",
    firm_id: str = "*",
    details: Mapping[str, Any] | None = None,
    snapshot: bool = False,
) -> AsyncIterator[Connection]:
    """Run a transaction of the office role, which sees all firms, and put its use on record.

    `action` says what was done (`read_metrics`), `subject` on what (an id, never words), `firm_id`
    whose it was, '*' for more than one firm.
    """
    isolation: Literal["repeatable_read", "read_committed"] = (
        "repeatable_read" if snapshot else "read_committed"
    )
    async with (
        borrowed(pool, TRANSACTION_SECONDS) as conn,
        conn.transaction(isolation=isolation),
    ):
        await append_audit(conn, actor, action, subject=subject, firm_id=firm_id, details=details)
        yield conn


async def append_audit(
    conn: Connection,
    actor: Actor,
    action: str,
    *,
    subject: str,
    firm_id: str = "*",
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write one row of the trail, in the caller's transaction and its house's schema.

    `details` holds ids, numbers and enumerations only: the trail outlives every erasure.
    """
    await conn.execute(
        _SQL.append_audit, firm_id, actor.id, action, subject, json.dumps(dict(details or {}))
    )
