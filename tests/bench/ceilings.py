"""Ceilings: servers that do one part of ingest's work and nothing else, as fast as it goes."""

import argparse
import asyncio
import gc
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from aiokafka import AIOKafkaProducer

from tests.bench.peers.models import EVENTS

BATCH_BYTES_MAX = 262_144
PARTITIONS = 3


async def empty(request: web.Request) -> web.Response:
    """Read a body and answer."""
    await request.read()
    return web.Response(status=202, body=b"{}", content_type="application/json")


async def validate(request: web.Request) -> web.Response:
    """Read a body of events with the leanest models, and answer."""
    EVENTS.validate_json(await request.read())
    return web.Response(status=202, body=b"{}", content_type="application/json")


class Lane:
    """A partition's queue: whole bodies, one batch under way."""

    def __init__(self, kafka: AIOKafkaProducer, topic: str, partition: int) -> None:
        self.queue: deque[tuple[list[bytes], asyncio.Future[None]]] = deque()
        self.wake = asyncio.Event()
        self.kafka, self.topic, self.partition = kafka, topic, partition

    async def run(self) -> None:
        """Send what waits, batch after batch."""
        while True:
            while not self.queue:
                self.wake.clear()
                await self.wake.wait()
            batch, ended = self.kafka.create_batch(), []
            full = False
            while self.queue and not full:
                values, future = self.queue[0]
                while values:
                    if batch.append(key=b"firm", value=values[-1], timestamp=None) is None:
                        full = True
                        break
                    values.pop()
                else:
                    ended.append(future)
                    self.queue.popleft()
            batch.close()
            await (await self.kafka.send_batch(batch, self.topic, partition=self.partition))
            for future in ended:
                future.set_result(None)


LANES = web.AppKey("lanes", list[Lane])


async def commit(request: web.Request) -> web.Response:
    """Put each line of a body on the log, unread, and answer when all are durable."""
    values = (await request.read()).split(b"\n")
    lanes = request.app[LANES]
    lane = lanes[hash(values[0]) % len(lanes)]
    values.reverse()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    lane.queue.append((values, future))
    lane.wake.set()
    await future
    return web.Response(status=202, body=b"{}", content_type="application/json")


def lanes_of(kafka_servers: str, topic: str) -> Any:
    """Make the part of an application that keeps a producer and its lanes."""

    async def run(app: web.Application) -> AsyncIterator[None]:
        kafka = AIOKafkaProducer(
            bootstrap_servers=kafka_servers,
            acks="all",
            enable_idempotence=False,
            linger_ms=0,
            max_batch_size=BATCH_BYTES_MAX,
        )
        await kafka.start()
        app[LANES] = [Lane(kafka, topic, number) for number in range(PARTITIONS)]
        tasks = [asyncio.create_task(lane.run()) for lane in app[LANES]]
        yield
        for task in tasks:
            task.cancel()
        await kafka.stop()

    return run


def main() -> None:
    """Serve one ceiling."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("empty", "validate", "commit"))
    parser.add_argument("--port", type=int)
    parser.add_argument("--kafka", default="")
    parser.add_argument("--topic", default="")
    given = parser.parse_args()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    app = web.Application(client_max_size=4 * 1024 * 1024)
    if given.what == "commit":
        app.cleanup_ctx.append(lanes_of(given.kafka, given.topic))
    app.router.add_post("/v1/events", globals()[given.what])
    web.run_app(app, host="127.0.0.1", port=given.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
