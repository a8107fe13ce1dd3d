"""What costs one record, and what is wrong with the world."""

import asyncpg
import pytest

from services.failures import Failure, attempt_in
from services.postgres import STORE_ERRORS, connect


async def attempted(settings, error):
    async def work():
        raise error

    conn = await connect(settings, "billing", "writer")
    try:
        async with conn.transaction():
            return await attempt_in(conn, work)
    finally:
        await conn.close()


@pytest.mark.parametrize("kind", STORE_ERRORS)
async def test_what_is_wrong_with_the_world_is_no_failure_of_a_record(settings, kind):
    with pytest.raises(kind):
        await attempted(settings, kind("gone"))


@pytest.mark.parametrize(
    "error", [ValueError("x"), asyncpg.DataError("x"), asyncpg.UniqueViolationError("x")]
)
async def test_what_a_record_cannot_be_is_its_failure(settings, error):
    found = await attempted(settings, error)
    assert isinstance(found, Failure)
    assert found.reason.startswith(f"{type(error).__name__} at test_failures.py:")
