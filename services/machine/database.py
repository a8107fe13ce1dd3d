"""Whether a database that cannot be used is away, or answers and says no."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg
import psycopg

from services.kafka_clients import Obstacle
from services.postgres import STORE_ERRORS
from services.settings import Settings, SettingsRefused, database_place, environment_name

ASK_SECONDS: Final = 3
SAYS_NO: Final = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
OWNER: Final = "check DATABASE_URL"
ROLE: Final = (
    f"check {environment_name('database_role_password')}, or run `turnsheet migrate`, which makes "
    "the roles"
)


@contextmanager
def told_refusals(settings: Settings) -> Iterator[None]:
    """Raise `SettingsRefused` for a database that answers and does not take a block's login.

    One that does not answer is left to the error that says so.
    """
    try:
        yield
    except SAYS_NO as error:
        raise SettingsRefused(str(_refusal(settings, error, ROLE))) from None
    except psycopg.OperationalError:  # it says no more than words in the server's language
        if (refusal := asyncio.run(find_refusal(settings))) is not None:
            raise SettingsRefused(str(refusal)) from None
        raise


async def find_refusal(settings: Settings) -> Obstacle | None:
    """Ask the database once more, as its owner; None when it does not say no."""
    try:
        conn = await asyncpg.connect(settings.database_url, timeout=ASK_SECONDS)
    except SAYS_NO as error:
        return _refusal(settings, error, OWNER)
    except STORE_ERRORS:
        return None
    await conn.close()
    return None


def _refusal(settings: Settings, error: asyncpg.PostgresError, login: str) -> Obstacle:
    place = database_place(settings.database_url)
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return Obstacle(f"there is no database at {place}", f"make it, or {OWNER}")
    return Obstacle(f"{place} refuses the login", login)
