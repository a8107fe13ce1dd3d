"""The one place that catches whatever is raised: it costs a record or an entity, never the rest."""

import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import asyncpg

from services.postgres import STORE_ERRORS, Connection

T = TypeVar("T")


class Failure(NamedTuple):
    """An unforeseen exception, told by its class and its place: its words may be a client's."""

    reason: str


def attempt(work: Callable[[], T]) -> T | Failure:
    """Do one record's or one entity's work; an unforeseen exception comes back as a value."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 (one bad record must never stop the others)
        return failure_of(error)


async def attempt_in(conn: Connection, work: Callable[[], Awaitable[T]]) -> T | Failure:
    """Do one record's work inside a savepoint; what its own failing has written is gone.

    What is wrong with the world (the database away, a lock, a timeout) is raised on.
    """
    try:
        async with conn.transaction():
            return await work()
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        return failure_of(error)
    except STORE_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001 (one bad record must never stop the others)
        return failure_of(error)


def failure_of(error: BaseException) -> Failure:
    """Tell an exception by its class and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return Failure(f"{type(error).__name__}{place}")
