"""Entries of hundreds of days: a poll of them is folded, sent and written a portion at a time."""

from uuid import UUID

import pytest
from aiokafka.structs import ConsumerRecord

from services.billing import consumer as billing_consumer
from services.billing.store import SQL as BILLING
from services.folding import apply, drain_refolds, place
from services.log_applying import Batch, LogState
from services.metrics import consumer as metrics_consumer
from services.metrics.store import SQL as METRICS
from services.postgres import connect
from tests.log import DIRECTORY, entry, event, record

TOPIC_ID = UUID(int=7)
DAYS, ENTRIES = 395, 60
PARTS_MAX = 2_000 + 400  # in one statement: the last entry may exceed what is enough
PLACE = {"firm_id": "firm-1", "placement_id": "pl-1"}
MOVED = event(
    "placement.country_changed", "d3", PLACE | {"country": "MX", "effective_date": "2026-06-01"}
)
HOUSES = {
    "metrics": (metrics_consumer.READING, METRICS.insert_segments, "select count(*) from segment"),
    "billing": (
        billing_consumer.READING,
        BILLING.save_entries,
        "select sum(json_array_length(segments)) from entry",
    ),
}


def parts_of(arguments):
    """Count the parts of entries that a statement of either house carries."""
    texts = [one for array in arguments for one in array if isinstance(one, str)]
    return sum(text.count('"number":') for text in texts) or len(arguments[0])


def batch_of(topic, *bodies):
    made = map(record, bodies)
    records = [
        ConsumerRecord(topic, 0, n, 0, 0, one.key, one.value, None, 0, 0, one.headers)
        for n, one in enumerate(made)
    ]
    return Batch(topic, 0, TOPIC_ID, 0, len(records), records)


@pytest.fixture(params=HOUSES)
async def house(request, settings):
    reading, saves, counts = HOUSES[request.param]
    conn = await connect(settings, request.param, "writer")
    sent = []

    async def fed(topic, *bodies):
        await place(conn, topic, 0, LogState(TOPIC_ID, 0, len(bodies)))
        with conn.query_logger(lambda one: sent.append((one.query, one.args))):
            await apply(conn, reading, [batch_of(topic, *bodies)])

    async def drained():
        with conn.query_logger(lambda one: sent.append((one.query, one.args))):
            while await drain_refolds(conn, reading):
                pass

    async def told():
        largest = max(parts_of(args) for query, args in sent if query == saves)
        sent.clear()
        return largest, await conn.fetchval(counts)

    yield fed, drained, told
    await conn.close()


async def test_a_poll_and_the_queue_write_long_entries_a_portion_at_a_time(house):
    fed, drained, told = house
    minutes = DAYS * 24 * 60
    work = [entry(f"en-{n}", minutes, at=-minutes) for n in range(ENTRIES)]
    await fed("x.directory", *DIRECTORY)
    await fed("x.time-events", *work)
    largest, written = await told()
    assert written > ENTRIES * DAYS
    assert largest <= PARTS_MAX
    await fed("y.directory", MOVED)
    await drained()
    assert await told() == (largest, written)
