"""FastAPI and aiokafka as their documentation shows them: a list of models, send and gather."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI
from models import AnyEvent, topic_of

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--kafka")
parser.add_argument("--prefix", default="")
given = parser.parse_args()
state: dict[str, Any] = {}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    state["producer"] = AIOKafkaProducer(bootstrap_servers=given.kafka, acks="all")
    await state["producer"].start()
    yield
    await state["producer"].stop()


app = FastAPI(lifespan=lifespan)


@app.post("/v1/events", status_code=202)
async def take_events(events: list[AnyEvent]) -> dict[str, int]:
    await asyncio.gather(
        *(
            state["producer"].send_and_wait(
                topic_of(event, given.prefix),
                key=event.data.firm_id.encode(),
                value=event.model_dump_json().encode(),
            )
            for event in events
        )
    )
    return {"accepted": len(events)}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=given.port, access_log=False, log_level="warning")
