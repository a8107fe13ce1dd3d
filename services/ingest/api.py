"""Ingest's calls: events and tools' exports; what they accept is on the log before they answer."""

import asyncio
import hmac
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import Final, Literal
from zoneinfo import ZoneInfo

import asyncpg
from aiohttp import web
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict

from schemas.events import topic_of
from schemas.fields import NO_FIRM, Id, Zone
from services.ingest import store
from services.ingest.batches import (
    ATTRIBUTE,
    BATCH,
    BINARY,
    EVENTS_MAX,
    MODES,
    SLICE_BYTES,
    Item,
    Unsplittable,
    guess,
    slices,
    split,
)
from services.ingest.imports import (
    TYPE,
    Decision,
    Format,
    Plan,
    Planned,
    admit_rows,
    decide,
    join_decisions,
    plan,
    report_of,
)
from services.ingest.intake import (
    Refused,
    Taken,
    admit,
    answer_of,
    headers_of,
    placements_named,
    read_at_once,
    read_items,
    result_of,
)
from services.ingest.mapping import Rules
from services.ingest.rows import FileRefused
from services.postgres import Connection, append_audit, firm_transaction, office_transaction
from services.producer import OutcomeUnknown, Overloaded, Producer, Record
from services.settings import Settings
from services.web.auth import Principal
from services.web.bodies import read_json
from services.web.http import (
    FIRM_POOL,
    OFFICE_POOL,
    OUTCOME_OPEN,
    Fault,
    Problem,
    Route,
    json_response,
    outcome_unknown,
    principal_of,
    query_of,
    read_raw,
)
from services.web.room import overloaded
from services.web.routes import JSON
from services.web.shared_reads import SharedRead

PRODUCER: Final = web.AppKey("producer", Producer)
SETTINGS: Final = web.AppKey("settings", Settings)
WRITER_POOL: Final = web.AppKey("writer_pool", asyncpg.Pool)
PLACEMENTS: Final = web.AppKey("placements", SharedRead)  # the firm of each that is known

LARGE: Final = web.AppKey("large", asyncio.Lock)
LARGE_FILE: Final = web.AppKey("large_file", asyncio.Lock)
SPLITTER: Final = web.AppKey("splitter", ThreadPoolExecutor)
PLANNER: Final = web.AppKey("planner", ThreadPoolExecutor)
USUAL_BYTES: Final = 4_096  # of an event
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
        read = await _read(request, body)
    except Unsplittable as error:
        status = _STATUS_OF.get(error.code, 400)
        raise Problem(
            status, error.code, "The body cannot be taken apart", detail=error.detail
        ) from None
    known = await request.app[PLACEMENTS].find(placements_named(read))
    outcomes = admit(principal, read, now=received_at, firm_of_placement=known)
    taken = [one for one in outcomes if isinstance(one, Taken)]
    headers = headers_of(received_at, principal.id, _traceparent(request))
    # failpoint ingest.admitted
    await put_on_log(request, taken, headers)
    _count(outcomes)
    # failpoint ingest.on_the_log
    if not taken:
        raise Problem(
            422,
            "none_accepted",
            "None of the events was accepted",
            errors=[result_of(one) for one in outcomes],
        )
    return json_response(request, answer_of(outcomes), status=202)


async def _read(request: web.Request, body: bytes) -> list[Taken | Refused]:
    """Take a body apart and read its events. Raises Unsplittable.

    One that is large may be made to take long: it is taken apart in a thread, and large ones wait
    for each other, so that between the slices of one there is always time for small ones.
    """
    media, headers = request.content_type, request.headers.items()
    is_large = len(body) > SLICE_BYTES
    async with request.app[LARGE] if is_large else nullcontext():
        loop = asyncio.get_running_loop()
        parts = None
        if media == BATCH and is_large:
            parts = await loop.run_in_executor(request.app[SPLITTER], guess, body)
        elif media == BATCH:
            parts = guess(body)
        if parts and (read := await _in_slices(request, parts, read_at_once)) is not None:
            return read
        if is_large:
            items = await loop.run_in_executor(request.app[SPLITTER], split, media, headers, body)
        else:
            items = split(media, headers, body)
        read = await _in_slices(request, items, read_items)
        assert read is not None, "each is read, or refused"
        return read


async def _in_slices(
    request: web.Request,
    items: Sequence[Item],
    reader: Callable[[Sequence[Item], int], Sequence[Taken | Refused] | None],
) -> list[Taken | Refused] | None:
    """Read a body's events in parts; unusually large ones in the thread, for they may take long."""
    read: list[Taken | Refused] = []
    loop = asyncio.get_running_loop()
    for first, part in slices(items):
        if first:
            await asyncio.sleep(0)
        if sum(map(len, part)) > USUAL_BYTES * len(part):
            found = await loop.run_in_executor(request.app[SPLITTER], reader, part, first)
        else:
            found = reader(part, first)
        if found is None:
            return None
        read.extend(found)
    return read


async def put_on_log(
    request: web.Request, taken: Sequence[Taken], headers: list[tuple[str, bytes]]
) -> None:
    """Put events on their topics and return when all are durable.

    Raises Problem 503 when Kafka did not confirm (some may be on the log: the same ids may come
    again for ever), 429 when more waits for Kafka than we keep. From here on the outcome of the
    request is open, unless none of its events was sent.
    """
    settings = request.app[SETTINGS]
    records: dict[str, list[Record]] = {}
    for _, raw, event in taken:
        topic = topic_of(event.type, event.data)
        key = getattr(event.data, "firm_id", NO_FIRM)
        records.setdefault(topic, []).append(Record(key.encode(), raw, headers))
    was_open = request.get(OUTCOME_OPEN, False)
    request[OUTCOME_OPEN] = was_open or bool(taken)
    try:
        await request.app[PRODUCER].produce_all(
            {settings.topic(topic): some for topic, some in records.items()},
            settings.produce_deadline_seconds,
        )
    except OutcomeUnknown:
        _unknown.inc()
        raise outcome_unknown() from None
    except Overloaded:  # before anything of this call was sent
        request[OUTCOME_OPEN] = was_open
        raise Problem(
            429,
            "overloaded",
            "More waits for the log than we keep: send the same events again",
            headers={"Retry-After": "1"},
        ) from None


def _traceparent(request: web.Request) -> str | None:
    given = request.headers.get("traceparent", "")
    return given if _TRACEPARENT.fullmatch(given) else None


def _count(outcomes: Sequence[Taken | Refused]) -> None:
    counts: dict[tuple[Counter, str], int] = defaultdict(int)
    for one in outcomes:
        label = (_accepted, one.event.type) if isinstance(one, Taken) else (_rejected, one.code)
        counts[label] += 1
    for (counter, name), number in counts.items():
        counter.labels(name).inc(number)


class ImportQuery(BaseModel):
    """How a file is to be read; the zone is in none of them."""

    model_config = ConfigDict(extra="forbid")

    format: Format
    timezone: Zone
    firm_id: Id | None = None
    dry_run: bool = False


class ImportBody(BaseModel):
    """A file's text with the rules that turn its words into placements and task types."""

    model_config = ConfigDict(extra="forbid", strict=True)

    csv: str
    mapping: Rules = Rules()


class RowRefusal(BaseModel):
    """A row that was not taken; the header is line 1."""

    line: int
    code: str
    detail: str


class ImportReport(BaseModel):
    """What became of a file's rows; with `dry_run`, what would have become of them."""

    model_config = ConfigDict(extra="forbid")

    format: Format
    timezone: str
    dry_run: bool
    rows: int
    accepted: int
    known: int
    refused: int
    refusals: list[RowRefusal]


async def take_import(request: web.Request) -> web.StreamResponse:
    """Take a tool's export: its good rows go on the log, each bad one is told with its line."""
    principal, query = principal_of(request), query_of(request, ImportQuery)
    body = await _read_import(request)
    now = datetime.now(UTC)
    is_large = len(body.csv) > SLICE_BYTES
    async with _large_file(request.app) if is_large else nullcontext():
        given = await _plan(request.app, query, body, request.app[PLANNER] if is_large else None)
        known = await request.app[PLACEMENTS].find(
            placements_named(row.event for row in given.planned)
        )
        given = admit_rows(principal, given, now=now, firm_of_placement=known)
        decision = await _claim(request.app, principal, query, given.planned)
        coming = decision.unsent + decision.fresh
        if not query.dry_run:
            await _send_rows(request, coming, headers_of(now, principal.id, _traceparent(request)))
    counts = {
        "rows": given.row_count,
        "accepted": len(coming),
        "known": len(decision.known),
    }
    refused = given.refused + decision.refused
    report = report_of(query.format, query.timezone, refused, counts=counts, dry=query.dry_run)
    return json_response(request, report)


@asynccontextmanager
async def _large_file(app: web.Application) -> AsyncIterator[None]:
    """Have the one large file in hand: rows that are read take up to a hundred times their bytes.

    Raises Problem 503 when another is: who waited for it would have no time left for the own one.
    """
    in_hand = app[LARGE_FILE]
    if in_hand.locked():
        raise overloaded("files")
    async with in_hand:
        yield


async def _plan(
    app: web.Application, query: ImportQuery, body: ImportBody, planner: ThreadPoolExecutor | None
) -> Plan:
    """Plan a file in a thread: a large one takes seconds, in which the door stays open.

    The planner has one thread, so a plan that nobody waits for any more ends before the next.
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(
            planner,
            plan,
            body.csv.encode(),
            query.format,
            ZoneInfo(query.timezone),
            body.mapping,
            _import_key(app[SETTINGS]),
            query.firm_id,
        )
    except FileRefused as error:
        where = f" (line {error.line})" if error.line else ""
        fault = Fault("/csv", error.code, error.detail + where)
        raise Problem(422, error.code, "The file cannot be taken", errors=[fault]) from None


async def _read_import(request: web.Request) -> ImportBody:
    raw = await read_raw(request)
    if request.content_type == JSON:
        body = await asyncio.to_thread(read_json, raw, ImportBody)
        assert isinstance(body, ImportBody)
        return body
    try:
        return ImportBody(csv=raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise Problem(422, "not_utf8", "The file is not UTF-8") from None


def _import_key(settings: Settings) -> bytes:
    return hmac.digest(settings.token_pepper.get_secret_value().encode(), b"import", "sha256")


async def _claim(
    app: web.Application, principal: Principal, query: ImportQuery, planned: Sequence[Planned]
) -> Decision:
    """Decide what each row is, and claim the fresh ones before anything goes on the log.

    Whoever sees all firms compares with all; others see, and claim, firm by firm.
    """
    action = "check_import" if query.dry_run else "import_rows"
    if principal.sees_all_firms:
        async with office_transaction(
            app[OFFICE_POOL],
            principal,
            action,
            subject=query.format,
            details={"rows": len(planned)},
        ) as conn:
            return await _claim_seen(conn, principal, query, planned)
    decisions: list[Decision] = []
    for firm_id in sorted({row.firm_id for row in planned}):
        of_firm = [row for row in planned if row.firm_id == firm_id]
        async with firm_transaction(app[FIRM_POOL], firm_id) as conn:
            if not query.dry_run:
                await append_audit(
                    conn,
                    principal,
                    action,
                    subject=query.format,
                    firm_id=firm_id,
                    details={"rows": len(of_firm)},
                )
            decisions.append(await _claim_seen(conn, principal, query, of_firm))
    return join_decisions(decisions)


async def _claim_seen(
    conn: Connection, principal: Principal, query: ImportQuery, planned: Sequence[Planned]
) -> Decision:
    await store.lock_imports(conn)
    days = await store.load_import_days(
        conn, query.format, {(row.person, row.day) for row in planned}
    )
    rows = await store.load_import_rows(conn, [row.row_id for row in planned])
    decision = decide(planned, days, rows)
    if decision.fresh and not query.dry_run:
        await store.append_import(conn, query.format, principal.id, decision.fresh)
    return decision


async def _send_rows(
    request: web.Request, rows: Sequence[Planned], headers: list[tuple[str, bytes]]
) -> None:
    """Put rows' events on the log, and note each part that it has confirmed."""
    for first in range(0, len(rows), EVENTS_MAX):
        part = rows[first : first + EVENTS_MAX]
        await put_on_log(request, [row.event for row in part], headers)
        await store.append_import_sent(request.app[WRITER_POOL], part)
        _accepted.labels(TYPE).inc(len(part))


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
        refusals=(429,),
        description=(
            "Structured, batch, one event a line, or binary mode with ce-* headers. 202: at least "
            "one event is on the log, and each is told apart; 422: none was accepted, `errors` "
            "has the same list; 503 `outcome_unknown`: some may be on the log; 429 and any other "
            "503: none is. After each of these send the same ids again. An event and the work that "
            "it tells of lie at most 5 minutes ahead of our clock (`retry_at` says when they are "
            "taken), and are older than 400 days only with the scope `import`."
        ),
    ),
    Route(
        "POST",
        "/v1/imports",
        take_import,
        scope="import",
        summary="Take a tool's CSV export",
        raw=(JSON, "text/csv"),
        query=ImportQuery,
        response=ImportReport,
        refusals=(429,),
        description=(
            "JSON with the file's text and the mapping, or the bare CSV, whose report then lists "
            "what needs a rule. The same file twice adds nothing; a later file with other rows of "
            "a person's day is refused for that day. After a 503 send the same file again."
        ),
    ),
)
