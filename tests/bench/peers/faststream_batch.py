"""FastStream's batch subscriber over asyncpg: at least once, an upsert a batch."""

import argparse
import asyncio
import json
import time
from typing import Any

import asyncpg
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage
from store import columns, row_of, upsert

parser = argparse.ArgumentParser()
parser.add_argument("--kafka")
parser.add_argument("--database")
parser.add_argument("--topics", nargs="+")
parser.add_argument("--group")
parser.add_argument("--count", type=int)
given = parser.parse_args()

broker = KafkaBroker(given.kafka)
app = FastStream(broker)
state: dict[str, Any] = {"done": 0}
UPSERT = upsert("${}")


@app.on_startup
async def open_pool() -> None:
    state["pool"] = await asyncpg.create_pool(given.database, min_size=1, max_size=2)


@broker.subscriber(
    *given.topics,
    batch=True,
    max_records=2000,
    group_id=given.group,
    auto_offset_reset="earliest",
    ack_policy=AckPolicy.NACK_ON_ERROR,  # by default it commits before the handler has run
)
async def store_events(bodies: list[Any], message: KafkaMessage) -> None:
    state.setdefault("began", time.perf_counter())
    rows = [row_of(r.value, r.topic, r.partition, r.offset) for r in message.raw_message]
    async with state["pool"].acquire() as conn:
        await conn.execute(UPSERT, *columns(rows))
    state["done"] += len(bodies)
    if state["done"] >= given.count:
        state["seconds"] = time.perf_counter() - state["began"]
        app.exit()


if __name__ == "__main__":
    asyncio.run(app.run())
    print(json.dumps({"count": state["done"], "seconds": state["seconds"]}))
