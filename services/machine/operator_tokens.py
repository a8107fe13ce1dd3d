"""The operator's own tokens: made by `up`, kept in the data folder, readable by its owner only."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from services.postgres import connect, open_pool
from services.refusals import Refused
from services.settings import Settings, read_private, write_private
from services.web.auth import ALL, Kind, NewToken, authenticate, create_token, read_tokens
from services.web.problems import Problem

FILE: Final = "tokens.json"
KINDS: Final[tuple[Kind, ...]] = ("admin", "finance")
VALID_DAYS: Final = 365


class Operator(NamedTuple):
    """Who acts from the command line of the machine."""

    id: str = "operator:local"


async def ensure_operator_tokens(settings: Settings) -> dict[str, str]:
    """Return the operator's tokens by kind; made anew when this database does not take the old."""
    found = _read(settings.home / FILE)
    if found.keys() == set(KINDS) and await _are_taken(settings, found):
        return found
    now = datetime.now(UTC)
    conn = await connect(settings, "identity", "writer")
    try:
        tokens: dict[str, str] = {
            kind: await create_token(
                conn, settings.token_pepper, _new_token(kind, now), actor=Operator(), now=now
            )
            for kind in KINDS
        }
    finally:
        await conn.close()
    write_private(settings.home / FILE, tokens)
    return tokens


def _new_token(kind: Kind, now: datetime) -> NewToken:
    until = now + timedelta(days=VALID_DAYS)
    return NewToken(f"{kind}:operator", kind, until, None, [ALL], [ALL], [ALL], "turnsheet up")


async def _are_taken(settings: Settings, tokens: dict[str, str]) -> bool:
    soon = datetime.now(UTC) + timedelta(days=1)
    pool = await open_pool(settings, "identity", "writer", size=1)
    try:
        for token in tokens.values():
            await authenticate(read_tokens(pool), settings.token_pepper, f"Bearer {token}", soon)
    except Problem:
        return False
    finally:
        await pool.close()
    return True


def _read(path: Path) -> dict[str, str]:
    return read_private(path, "remove it: `turnsheet up` makes new ones")


def operator_token(settings: Settings, kind: str) -> str:
    """Return the token that a command speaks with: TURNSHEET_TOKEN, else the operator's.

    Raises `Refused` with what to do when there is neither, `SettingsRefused` when the file that
    has the operator's is damaged.
    """
    if given := settings.token.get_secret_value():
        return given
    path = settings.home / FILE
    if kind not in (tokens := _read(path)):
        raise Refused(
            f"no token: set TURNSHEET_TOKEN, or run `turnsheet up`, which leaves one in {path}"
        )
    return tokens[kind]
