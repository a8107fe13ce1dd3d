"""The hash of a house's state: equal facts give equal hashes, however they came."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime

import asyncpg

from schemas.instants import instant_text
from services.postgres import Connection


async def hash_states(conn: Connection, sql: Mapping[str, str], names: Iterable[str]) -> str:
    """Hash what some named statements read, in one snapshot: state columns only, in key order.

    Positions, row versions and the time of storing are not state. Runs as the writer.
    """
    digest = hashlib.sha256()
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        for name in names:
            digest.update(f"{name}\n".encode())
            async for row in conn.cursor(sql[name]):
                digest.update(_line(row))
    return digest.hexdigest()


def _line(row: asyncpg.Record) -> bytes:
    values = [
        instant_text(value) if isinstance(value, datetime) else value for value in row.values()
    ]
    return json.dumps(values, default=str, ensure_ascii=False).encode() + b"\n"
