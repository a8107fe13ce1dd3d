"""Tokens for tests, and who makes them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from services.postgres import connect
from services.settings import Settings
from services.web.auth import Kind, NewToken, create_token


@dataclass(frozen=True)
class Tester:
    """Who makes tokens in tests."""

    id: str = "admin:tester"


TESTER = Tester()


async def make_token(settings: Settings, kind: Kind = "tracker", **bounds: Any) -> str:
    """Make a token of firm-1's tracker, or as `bounds`, members of `NewToken`, say.

    It was made two days ago, so that it may have expired already.
    """
    now = datetime.now(UTC)
    given: dict[str, Any] = {
        "principal_id": f"{kind}:one",
        "expires_at": now + timedelta(days=1),
        "firms": ("firm-1",),
        "placements": ("pl-1",),
        "sources": ("tracker/as-1",),
    }
    new = NewToken(kind=kind, **(given | bounds))
    conn = await connect(settings, "identity", "writer")
    try:
        return await create_token(
            conn, settings.token_pepper, new, actor=TESTER, now=now - timedelta(days=2)
        )
    finally:
        await conn.close()
