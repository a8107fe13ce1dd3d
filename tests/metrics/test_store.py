"""The house's SQL on its migrated schema."""

import pytest

from services.metrics.store import SQL, load_cut
from services.postgres import connect


@pytest.fixture
async def conn(settings):
    conn = await connect(settings, "metrics", "writer")
    yield conn
    await conn.close()


async def test_every_statement_is_understood_by_the_schema(conn):
    for name, statement in SQL.items():
        assert await conn.prepare(statement), name


async def test_how_far_a_firm_is_known_is_its_last_fact_in_each_partition(conn):
    places = [
        ("firm-1", "time-events", 0, 7),
        ("firm-1", "time-events", 0, 9),
        ("firm-1", "time-events", 2, 3),
        ("firm-1", "directory", 1, 0),
        ("firm-2", "time-events", 0, 40),
        ("firm-2", "task-events", 0, 41),
    ]
    await conn.executemany(
        'insert into fact (firm_id, topic, partition, "offset", kind, entity_id, source, event_id,'
        " type, event_time, received_at, principal, content_hash, body)"
        " values ($1, $2, $3, $4, 'entry', 'e', 's', 'i', 't', now(), now(), 'a:b', '', '')",
        places,
    )
    await conn.executemany(
        "insert into entity (firm_id, kind, entity_id, row_version, records, failed)"
        " values ($1, 'entry', $2, 1, 1, $3)",
        [("firm-1", "e", "broken"), ("firm-1", "f", None), ("firm-2", "g", "broken")],
    )
    assert await load_cut(conn, "firm-1") == (
        [("directory", 1, 1), ("time-events", 0, 10), ("time-events", 2, 4)],
        1,
    )
    assert await load_cut(conn, "firm-0") == ([], 0)
