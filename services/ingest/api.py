"""Ingest's calls: events come in by `POST /v1/events`, and are on the log before it answers."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import asyncpg
from aiohttp import web
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict

from services.http import Problem, Route, json_response, principal_of, read_raw, unavailable
from services.ingest import store
from services.ingest.batches import ATTRIBUTE, BINARY, MODES, Item, Unsplittable, split
from services.ingest.intake import (
    Refused,
    Taken,
    admit,
    answer_of,
    headers_of,
    placements_named,
    read_items,
    result_of,
)
from services.producer import OutcomeUnknown, Overloaded, Producer, Record
from services.settings import Settings

PRODUCER: Final = web.AppKey("producer", Producer)
SETTINGS: Final = web.AppKey("settings", Settings)
WRITER_POOL: Final = web.AppKey("writer_pool", asyncpg.Pool)

SLICE: Final = 250  # events read between two looks at what else the loop has to do
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_STATUS_OF: Final = {"too_many_events": 413, "no_events": 422}

_accepted = Counter("turnsheet_events_accepted", "Events that are on the log", ["type"])
_rejected = Counter("turnsheet_events_rejected", "Events refused one by one", ["code"])
_unknown = Counter("turnsheet_produce_unknown", "Requests whose outcome Kafka did not tell")


class EventResult(BaseModel):
    """What became of one event; `code`, `pointer` and `detail` say why it was rejected."""

    model_config = ConfigDict(extra="forbid")

    index: int
    source: str | None
    id: str | None
    status: Literal["accepted", "rejected"]
    code: str | None = None
    pointer: str | None = None
    detail: str | None = None
    retry_at: str | None = None


class Answer(BaseModel):
    """What became of a request's events, in their order."""

    model_config = ConfigDict(extra="forbid")

    accepted: int
    rejected: int
    results: list[EventResult]


async def take_events(request: web.Request) -> web.StreamResponse:
    """Take CloudEvents in any of four modes; answer when all that is taken is on the log."""
    principal = principal_of(request)
    if request.content_type == BINARY and not any(
        name.lower().startswith(ATTRIBUTE) for name in request.headers
    ):
        raise Problem(
            415,
            "media_type",
            "A body of this type is not taken here",
            detail="application/json is for binary mode, whose attributes are ce-* headers",
        )
    body = await read_raw(request)
    received_at = datetime.now(UTC)
    try:
        items = split(request.content_type, request.headers.items(), body)
    except Unsplittable as error:
        status = _STATUS_OF.get(error.code, 400)
        raise Problem(
            status, error.code, "The body cannot be taken apart", detail=error.detail
        ) from None
    read = await _read_in_slices(items)
    known = await store.load_firms_of_placements(request.app[WRITER_POOL], placements_named(read))
    outcomes = admit(principal, read, now=received_at, firm_of_placement=known)
    taken = [one for one in outcomes if isinstance(one, Taken)]
    headers = headers_of(received_at, principal.id, _traceparent(request))
    await put_on_log(request.app, taken, headers)
    _count(outcomes)
    if not taken:
        raise Problem(
            422,
            "none_accepted",
            "None of the events was accepted",
            errors=[result_of(one) for one in outcomes],
        )
    return json_response(request, answer_of(outcomes), status=202)


async def _read_in_slices(items: Sequence[Item]) -> list[Taken | Refused]:
    read: list[Taken | Refused] = []
    for first in range(0, len(items), SLICE):
        read.extend(read_items(items[first : first + SLICE], first))
        await asyncio.sleep(0)
    return read


async def put_on_log(
    app: web.Application, taken: Sequence[Taken], headers: Sequence[tuple[str, bytes]]
) -> None:
    """Put events on their topics and return when all are durable.

    Raises Problem 503 when Kafka did not confirm (some may be on the log: the same ids may come
    again for ever), 429 when more waits for Kafka than we keep.
    """
    settings = app[SETTINGS]
    records: dict[str, list[Record]] = {}
    for one in taken:
        record = Record(one.entity.firm_id.encode(), one.raw, headers)
        records.setdefault(settings.topic(one.topic), []).append(record)
    ends = await asyncio.gather(
        *(
            app[PRODUCER].produce(topic, group, settings.produce_deadline_seconds)
            for topic, group in records.items()
        ),
        return_exceptions=True,
    )
    errors = [end for end in ends if isinstance(end, BaseException)]
    for error in errors:
        if not isinstance(error, OutcomeUnknown | Overloaded):
            raise error
    if any(isinstance(error, OutcomeUnknown) for error in errors):
        _unknown.inc()
        raise unavailable(
            "outcome_unknown", "The log did not confirm in time: send the same events again"
        )
    if errors:
        raise Problem(
            429,
            "overloaded",
            "More waits for the log than we keep: send the same events again",
            headers={"Retry-After": "1"},
        )


def _traceparent(request: web.Request) -> str | None:
    given = request.headers.get("traceparent", "")
    return given if _TRACEPARENT.fullmatch(given) else None


def _count(outcomes: Sequence[Taken | Refused]) -> None:
    counted: dict[tuple[Counter, str], int] = {}
    for one in outcomes:
        place = (_accepted, one.event.type) if isinstance(one, Taken) else (_rejected, one.code)
        counted[place] = counted.get(place, 0) + 1
    for (counter, label), number in counted.items():
        counter.labels(label).inc(number)


ROUTES: Final = (
    Route(
        "POST",
        "/v1/events",
        take_events,
        scope="events:write",
        summary="Take one CloudEvent or many",
        raw=MODES,
        response=Answer,
        status=202,
        description=(
            "Structured, batch, one event a line, or binary mode with ce-* headers. 202: at least "
            "one event is on the log, and each is told apart; 422: none was accepted, `errors` "
            "has the same list; 503: the outcome is unknown, send the same ids again."
        ),
    ),
)
