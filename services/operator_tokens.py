"""The operator's own tokens: made by `up`, kept in the data folder, readable by its owner only."""

import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from services.auth import ALL, NewToken, create_token
from services.postgres import connect
from services.settings import Settings, write_private

FILE = "tokens.json"
VALID_DAYS = 365


class Operator(NamedTuple):
    """Who acts from the command line of the machine."""

    id: str = "operator:local"


async def ensure_operator_tokens(settings: Settings) -> dict[str, str]:
    """Return the operator's tokens by kind, `admin` and `finance`; made when there are none."""
    path = settings.home / FILE
    if path.exists():
        found: dict[str, str] = json.loads(path.read_text())
        return found
    now = datetime.now(UTC)
    until = now + timedelta(days=VALID_DAYS)
    conn = await connect(settings, "identity", "writer")
    try:
        tokens = {
            kind: await create_token(
                conn,
                settings.token_pepper,
                NewToken(
                    f"{kind}:operator", kind, until, None, [ALL], [ALL], [ALL], "turnsheet up"
                ),
                actor=Operator(),
                now=now,
            )
            for kind in ("admin", "finance")
        }
    finally:
        await conn.close()
    write_private(path, tokens)
    return tokens


def operator_token(settings: Settings, kind: str) -> str:
    """Return the token that a command speaks with: TURNSHEET_TOKEN, else the operator's.

    Raises LookupError with what to do when there is neither.
    """
    if given := settings.token.get_secret_value():
        return given
    path = settings.home / FILE
    if not path.exists():
        raise LookupError(
            f"no token: set TURNSHEET_TOKEN, or run `turnsheet up`, which leaves one in {path}"
        )
    tokens: dict[str, str] = json.loads(path.read_text())
    return tokens[kind]
