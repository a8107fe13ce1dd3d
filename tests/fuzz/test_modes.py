"""The four modes, cross-checked with CloudEvents' own library as an independent client."""

import asyncio
import json
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings import http as http_binding
from cloudevents.core.bindings import kafka as kafka_binding
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from schemas.events import TYPES
from tests.fuzz import grammar

FORMAT = JSONFormat()
EXTENSIONS = {"tool": "toggl", "subjectkind": "naïve — 日本", "empty1": " x "}
SENDERS = ("connection", "firm", "tracker", "admin")
COUNT = 120


def events(part: str) -> list[CloudEvent]:
    """Events of every type, as the library holds them, with extensions."""
    rng, now = Random(part), datetime.now(UTC)
    names = [*grammar.BRANCHES] * (COUNT // len(grammar.BRANCHES) + 1)
    made = []
    for number, name in enumerate(names[:COUNT]):
        plain = json.loads(
            grammar.write(rng, grammar.make_event(rng, now, f"{part} #{number} é", name))
        )
        data = plain.pop("data")
        attributes: dict[str, Any] = {k: v for k, v in plain.items() if isinstance(v, str)}
        attributes["time"] = datetime.fromisoformat(plain["time"])
        attributes["datacontenttype"] = "application/json"
        attributes |= {key: value for key, value in EXTENSIONS.items() if rng.random() < 0.5}
        made.append(CloudEvent(attributes, data))
    return made


def sender(event: CloudEvent) -> str:
    return next(kind for kind in SENDERS if kind in TYPES[event.get_type()].senders)


def by_sender(made: list[CloudEvent]) -> dict[str, list[CloudEvent]]:
    found: dict[str, list[CloudEvent]] = {}
    for event in made:
        found.setdefault(sender(event), []).append(event)
    return found


def structured(made: list[CloudEvent]) -> list[bytes]:
    return [http_binding.to_structured(event, FORMAT).body for event in made]


def send_structured(world, made):
    for event in made:
        message = http_binding.to_structured(event, FORMAT)
        yield sender(event), message.headers["content-type"], message.body, {}


def send_binary(world, made):
    for event in made:
        message = http_binding.to_binary(event, FORMAT)
        headers = dict(message.headers)
        yield sender(event), headers.pop("content-type"), message.body, headers


def send_batch(world, made):
    """The library has no batch mode: its structured outputs are joined."""
    for who, some in by_sender(made).items():
        yield (
            who,
            "application/cloudevents-batch+json",
            b"[" + b",".join(structured(some)) + b"]",
            {},
        )


def send_lines(world, made):
    for who, some in by_sender(made).items():
        yield who, "application/x-ndjson", b"\n".join(structured(some)), {}


@pytest.mark.parametrize("mode", [send_structured, send_binary, send_batch, send_lines])
def test_what_the_library_writes_is_taken_as_meant_and_read_back_from_the_log(world, mode):
    made = events(mode.__name__)
    since = asyncio.run(world.ends())
    for who, media, body, headers in mode(world, made):
        status, answer = world.call(
            "ingest", "POST", "/v1/events", raw=body, media=media, who=who, more=headers
        )
        assert (status, answer["rejected"]) == (202, 0), answer
    records = asyncio.run(world.records(since))
    found = {}
    for record in records:
        headers = dict(record.headers)
        assert len(headers) == len(record.headers), "a header came twice"
        event = kafka_binding.from_kafka(
            kafka_binding.KafkaMessage(headers=headers, key=record.key, value=record.value), FORMAT
        )
        found[event.get_id()] = event
        assert event.get_extension("partitionkey") == record.key.decode()
    assert len(found) == len(records) == COUNT
    for meant in made:
        read = found[meant.get_id()]
        assert read.get_data() == meant.get_data()
        assert attributes_of(read) == attributes_of(meant)


def attributes_of(event: BaseCloudEvent) -> dict[str, Any]:
    """All that an envelope says, extensions included; the library puts Kafka's key into one."""
    return {k: v for k, v in event.get_attributes().items() if k != "partitionkey"}


def test_the_librarys_binary_message_on_kafka_says_what_ours_says(world):
    """The other way round: our record, written anew by the library in its binary mode."""
    [made, *_] = events("back")
    since = asyncio.run(world.ends())
    message = http_binding.to_binary(made, FORMAT)
    headers = dict(message.headers)
    media = headers.pop("content-type")
    world.done(
        "ingest",
        "POST",
        "/v1/events",
        raw=message.body,
        media=media,
        who=sender(made),
        more=headers,
    )
    [record] = asyncio.run(world.records(since))
    ours = kafka_binding.from_structured(
        kafka_binding.KafkaMessage(dict(record.headers), None, record.value), FORMAT
    )
    theirs = kafka_binding.from_kafka(kafka_binding.to_binary(ours, FORMAT), FORMAT)
    assert theirs.get_data() == made.get_data()
    assert attributes_of(theirs) == attributes_of(made)
