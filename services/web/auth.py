"""Who calls: bearer tokens, the principals behind them, and what each may do and see.

A token reads `tns_<kind>_<id>_<secret><crc>`: a public id of 16 base62 characters, 256 random bits
as 43 of them, and 6 of CRC32 over all before, so that a scanner of leaked text, and this door, tell
a token from noise without asking the database. Kept is only an HMAC of the whole text.
"""

import hmac
import re
import secrets
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

import asyncpg
from pydantic import SecretStr

from services.postgres import LOOK_SECONDS, Actor, Connection, Pool, append_audit, borrowed
from services.settings import SettingsRefused
from services.sql import queries
from services.web.problems import Problem, not_found, unauthorized
from services.web.shared_reads import SharedRead

Kind = Literal["tracker", "firm", "qa", "connection", "finance", "approver", "admin", "auditor"]
Scope = Literal[
    "events:write",
    "import",
    "directory:write",
    "tokens:write",
    "metrics:read",
    "timesheets:read",
    "timesheets:approve",
    "rates:read",
    "rates:write",
    "terms:write",
    "bills:read",
    "bills:run",
    "bills:approve",
    "bills:issue",
    "audit:read",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
ALL: Final = "*"

# What a kind may do when its token names no scopes; a token may always be given fewer.
DEFAULT_SCOPES: Final[Mapping[Kind, tuple[Scope, ...]]] = {
    "tracker": ("events:write",),
    "firm": (
        "events:write",
        "metrics:read",
        "timesheets:read",
        "timesheets:approve",
        "bills:read",
    ),
    "qa": ("events:write", "metrics:read"),
    "connection": ("events:write", "import"),
    "finance": (
        "metrics:read",
        "timesheets:read",
        "rates:read",
        "rates:write",
        "terms:write",
        "timesheets:approve",
        "bills:read",
        "bills:run",
        "bills:approve",
        "bills:issue",
    ),
    "approver": ("timesheets:read", "rates:read", "bills:read", "bills:approve"),
    "admin": ("events:write", "import", "directory:write", "tokens:write"),
    "auditor": ("audit:read", "rates:read", "bills:read"),
}

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH: Final = 16
_SECRET_LENGTH: Final = 43
_CRC_LENGTH: Final = 6
_TOKEN: Final = re.compile(
    rf"tns_(?P<kind>{'|'.join(KINDS)})_(?P<id>[0-9A-Za-z]{{16}})_[0-9A-Za-z]{{43}}"
    r"(?P<crc>[0-9A-Za-z]{6})"
)
_NO_HASH: Final = bytes(32)
_SQL = queries(Path(__file__).with_name("auth.sql"))


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever calls. `id` is stable over its tokens; "*" in firms, placements or sources is all."""

    id: str
    kind: Kind
    token_id: str
    scopes: frozenset[str]
    firms: frozenset[str]
    placements: frozenset[str]
    sources: frozenset[str]

    def may(self, scope: str) -> bool:
        """Say whether the token carries this scope."""
        return scope in self.scopes

    @property
    def sees_all_firms(self) -> bool:
        """Say whether this is someone of the office, whose reads of firms go on record."""
        return ALL in self.firms

    def sees_firm(self, firm_id: str) -> bool:
        """Say whether this firm's data is the principal's to see."""
        return self.sees_all_firms or firm_id in self.firms


class NewToken(NamedTuple):
    """What a new token is to be. No scopes: those of the kind. No bindings: none of that sort."""

    principal_id: str
    kind: Kind
    expires_at: datetime
    scopes: Collection[str] | None = None
    firms: Collection[str] = ()
    placements: Collection[str] = ()
    sources: Collection[str] = ()
    label: str = ""


class Token(NamedTuple):
    """A token as its list shows it: everything but the secret."""

    token_id: str
    principal_id: str
    kind: Kind
    scopes: tuple[str, ...]
    firms: tuple[str, ...]
    placements: tuple[str, ...]
    sources: tuple[str, ...]
    label: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


Tokens = SharedRead[str, asyncpg.Record]


def read_tokens(pool: Pool) -> Tokens:
    """Make the look at tokens that requests share."""

    async def read(token_ids: Collection[str]) -> dict[str, asyncpg.Record]:
        async with borrowed(pool, LOOK_SECONDS) as conn:
            rows = await conn.fetch(_SQL.find_tokens, list(token_ids))
        return {row["token_id"]: row for row in rows}

    return SharedRead(read)


async def authenticate(
    tokens: Tokens, pepper: SecretStr, authorization: str | None, now: datetime | None = None
) -> Principal:
    """Find whoever sent this Authorization header. Raises the problem 401, the same for every flaw.

    The row is read for each request, after it came, so a revocation counts from the next one.
    """
    text = (authorization or "").encode("utf-8", "surrogateescape")
    scheme, _, credentials = text.partition(b" ")
    parts = _read_token(credentials) if scheme.lower() == b"bearer" else None
    if parts is None:
        raise unauthorized()
    row = (await tokens.find([parts["id"]])).get(parts["id"])
    # An unknown id takes the same way as a wrong secret.
    matches = hmac.compare_digest(
        _keyed_hash(pepper, credentials), row["hash"] if row else _NO_HASH
    )
    if row is None or not matches or not _is_live(row, now or datetime.now(UTC)):
        raise unauthorized()
    return Principal(
        id=row["principal_id"],
        kind=row["kind"],
        token_id=row["token_id"],
        scopes=frozenset(row["scopes"]),
        firms=frozenset(row["firms"]),
        placements=frozenset(row["placements"]),
        sources=frozenset(row["sources"]),
    )


def require_firm(principal: Principal, firm_id: str) -> None:
    """Raise the problem 404, as for a firm that does not exist, unless the principal sees it."""
    if not principal.sees_firm(firm_id):
        raise not_found()


async def create_token(
    conn: Connection, pepper: SecretStr, new: NewToken, *, actor: Actor, now: datetime
) -> str:
    """Make a token, and its principal with its first; the text that is returned is kept nowhere.

    Runs as the writer of identity. Raises Problem 422 for what no token can be, SettingsRefused
    without a pepper: no service would ever take such a token.
    """
    if not pepper.get_secret_value():
        raise SettingsRefused(
            "TURNSHEET_TOKEN_PEPPER is not set: give that of the services, or run `turnsheet up`, "
            "which chooses one"
        )
    scopes = sorted(DEFAULT_SCOPES[new.kind] if new.scopes is None else new.scopes)
    _check(new, scopes, now)
    text = _new_text(new.kind)
    token_id = text.split("_")[2]
    async with conn.transaction():
        await conn.execute(_SQL.append_principal, new.principal_id, new.kind, now)
        try:
            await conn.execute(
                _SQL.append_token,
                token_id,
                new.principal_id,
                new.kind,
                _keyed_hash(pepper, text.encode()),
                scopes,
                sorted(new.firms),
                sorted(new.placements),
                sorted(new.sources),
                new.label,
                now,
                new.expires_at,
            )
        except asyncpg.ForeignKeyViolationError:
            raise Problem(422, "principal_kind", "This principal is of another kind") from None
        await append_audit(
            conn,
            actor,
            "create_token",
            subject=token_id,
            firm_id=next(iter(new.firms)) if len(new.firms) == 1 else ALL,
            details={"principal": new.principal_id, "scopes": scopes},
        )
    return text


async def list_tokens(conn: Connection) -> list[Token]:
    """List all tokens, the newest first."""
    return [
        Token._make(tuple(value) if isinstance(value, list) else value for value in row.values())
        for row in await conn.fetch(_SQL.load_tokens)
    ]


async def revoke_token(conn: Connection, token_id: str, *, actor: Actor, now: datetime) -> bool:
    """End a token from the next request on; False when there is no live token of this id."""
    async with conn.transaction():
        done = await conn.execute(_SQL.revoke_token, token_id, now)
        if done != "UPDATE 1":
            return False
        await append_audit(conn, actor, "revoke_token", subject=token_id)
        return True


async def revoke_tokens(
    conn: Connection, principal_id: str, *, actor: Actor, now: datetime
) -> list[str]:
    """End all tokens of a principal from the next request on; the ids of those that were live."""
    async with conn.transaction():
        rows = await conn.fetch(_SQL.revoke_tokens, principal_id, now)
        token_ids = sorted(row["token_id"] for row in rows)
        for token_id in token_ids:
            await append_audit(conn, actor, "revoke_token", subject=token_id)
    return token_ids


def _check(new: NewToken, scopes: Collection[str], now: datetime) -> None:
    strange = sorted(set(scopes) - set(SCOPES))
    if strange:
        raise Problem(422, "unknown_scope", f"There is no scope {strange[0]}")
    if re.fullmatch(rf"{new.kind}:[A-Za-z0-9._:-]{{1,128}}", new.principal_id) is None:
        raise Problem(422, "principal_id", f"A principal of this kind is named {new.kind}:<id>")
    if new.expires_at <= now:
        raise Problem(422, "expires_at", "A token has to expire after it is made")


def _is_live(row: asyncpg.Record, now: datetime) -> bool:
    return row["revoked_at"] is None and row["disabled_at"] is None and now < row["expires_at"]


def _new_text(kind: Kind) -> str:
    secret = secrets.randbits(256)
    body = f"tns_{kind}_{_random_id()}_{_base62(secret, _SECRET_LENGTH)}"
    return body + _crc(body)


def _read_token(credentials: bytes) -> Mapping[str, str] | None:
    """Take a token apart, or say None for what cannot be one: no database is asked for noise."""
    try:
        text = credentials.decode("ascii")
    except UnicodeDecodeError:
        return None
    found = _TOKEN.fullmatch(text)
    if found is None or _crc(text[:-_CRC_LENGTH]) != found["crc"]:
        return None
    return found.groupdict()


def _keyed_hash(pepper: SecretStr, token: bytes) -> bytes:
    return hmac.digest(pepper.get_secret_value().encode(), token, "sha256")


def _random_id() -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(_ID_LENGTH))


def _crc(text: str) -> str:
    return _base62(zlib.crc32(text.encode("ascii")), _CRC_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    assert number == 0, "the length holds every number of this width"
    return "".join(reversed(digits))
