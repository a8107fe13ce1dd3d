"""aiohttp and aiokafka as their documentation shows them: validate a list, `send()` each event."""

import argparse
import asyncio
from collections.abc import AsyncIterator

from aiohttp import web
from aiokafka import AIOKafkaProducer
from models import EVENTS, topic_of

PRODUCER = web.AppKey("producer", AIOKafkaProducer)
PREFIX = web.AppKey("prefix", str)
KAFKA = web.AppKey("kafka", str)


async def kafka(app: web.Application) -> AsyncIterator[None]:
    app[PRODUCER] = AIOKafkaProducer(bootstrap_servers=app[KAFKA], acks="all")
    await app[PRODUCER].start()
    yield
    await app[PRODUCER].stop()


async def take_events(request: web.Request) -> web.Response:
    events = EVENTS.validate_json(await request.read())
    producer, prefix = request.app[PRODUCER], request.app[PREFIX]
    sent = [
        await producer.send(
            topic_of(event, prefix),
            key=event.data.firm_id.encode(),
            value=event.model_dump_json().encode(),
        )
        for event in events
    ]
    await asyncio.gather(*sent)
    return web.json_response({"accepted": len(sent)}, status=202)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--kafka")
    parser.add_argument("--prefix", default="")
    given = parser.parse_args()
    app = web.Application(client_max_size=4 * 1024 * 1024)
    app[KAFKA], app[PREFIX] = given.kafka, given.prefix
    app.cleanup_ctx.append(kafka)
    app.router.add_post("/v1/events", take_events)
    web.run_app(app, host="127.0.0.1", port=given.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
