"""HTTP: from a table of routes to an application that answers every refusal as a problem."""

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg
import structlog
from aiohttp import web
from aiokafka.errors import KafkaError
from pydantic import BaseModel, SecretStr
from pydantic_core import to_json

from services.postgres import (
    LOOK_SECONDS,
    House,
    borrowed,
    close_pool,
    firm_transaction,
    office_transaction,
    open_pool,
)
from services.postgres import Connection as PostgresConnection
from services.settings import Settings, SettingsRefused
from services.web import openapi
from services.web.auth import Principal, authenticate, read_tokens, require_firm
from services.web.bodies import (
    INLINE_BYTES,
    adapter,
    check_media,
    read_body,
    read_json,
    read_path,
    read_query,
)
from services.web.deadlines import Connection, Limits, problem_of, problem_response
from services.web.problems import Fault, Problem, not_found, outcome_unknown, unavailable
from services.web.room import Room
from services.web.routes import Handler, Route, check_routes
from services.web.serving import STOPPING, make_ops_app, run_service
from services.web.shared_reads import SharedRead
from services.web.telemetry import REQUEST_SECONDS, REQUESTS

__all__ = [
    "FIRM_POOL",
    "LIMITS",
    "LOOK_POOL",
    "OFFICE_POOL",
    "OUTCOME_OPEN",
    "PRINCIPAL",
    "Fault",
    "Limits",
    "Problem",
    "Route",
    "body_of",
    "bytes_response",
    "check_postgres",
    "firm_view",
    "json_response",
    "make_app",
    "make_ops_app",
    "not_found",
    "outcome_unknown",
    "path_of",
    "principal_of",
    "query_of",
    "read_raw",
    "require_firm",
    "run_service",
    "unavailable",
]

LOOK_POOL: Final = web.AppKey("look_pool", asyncpg.Pool)
TOKENS: Final = web.AppKey("tokens", SharedRead)
FIRM_POOL: Final = web.AppKey("firm_pool", asyncpg.Pool)
OFFICE_POOL: Final = web.AppKey("office_pool", asyncpg.Pool)
LIMITS: Final = web.AppKey("limits", Limits)
ROOM: Final = web.AppKey("room", Room)
SERVICE: Final = web.AppKey("service", str)
_PEPPER: Final = web.AppKey("pepper", SecretStr)
_ROUTES: Final = web.AppKey("routes", dict[object, Route])

PRINCIPAL: Final = web.RequestKey("principal", Principal)
# Set by a call once a part of what it does may be done whatever becomes of the request: where it
# then fails for want of time, room or a part that is away, its outcome is told as unknown.
OUTCOME_OPEN: Final = web.RequestKey("outcome_open", bool)
_QUERY: Final = web.RequestKey("query", BaseModel)
_PATH: Final = web.RequestKey("path", BaseModel)
_BODY: Final = web.RequestKey("body", object)
_RAW: Final = web.RequestKey("raw", bytes)

LOOKS_MAX: Final = 4
_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"}
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_AWAY: Final = (
    OSError,
    KafkaError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
_COME_AGAIN: Final = {429, 503}
_REFUSED_VALUE: Final = "invalid input for query argument"  # as the driver begins to say
log = structlog.get_logger()
Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")


def make_app(
    service: House, routes: Sequence[Route], settings: Settings, limits: Limits | None = None
) -> web.Application:
    """Make the application of a house: its routes, their OpenAPI document and its page.

    The pools of the firm and office roles are opened first, under FIRM_POOL and OFFICE_POOL, and
    under LOOK_POOL one of the firm's for tokens and health, which no long read holds up; a house
    appends its own parts to `cleanup_ctx`. Raises RouteError for a table that breaks its
    rules, SettingsRefused without a pepper.
    """
    if not settings.token_pepper.get_secret_value():
        raise SettingsRefused("TURNSHEET_TOKEN_PEPPER is not set: tokens need it")
    limits = limits or Limits()
    table = [*routes, *_describing(service, routes)]
    check_routes(table)
    app = web.Application(middlewares=[_answer], client_max_size=limits.body_bytes)
    app[SERVICE] = service
    app[LIMITS] = limits
    app[ROOM] = Room(limits.requests, limits.held_bytes)
    app[_PEPPER] = settings.token_pepper
    app[_ROUTES] = {}
    app[STOPPING] = asyncio.Event()

    async def stopping(app: web.Application) -> None:
        app[STOPPING].set()

    async def pools(app: web.Application) -> AsyncIterator[None]:
        app[LOOK_POOL] = await open_pool(settings, service, "firm", size=LOOKS_MAX, looks=True)
        app[TOKENS] = read_tokens(app[LOOK_POOL])
        app[FIRM_POOL] = await open_pool(settings, service, "firm")
        app[OFFICE_POOL] = await open_pool(settings, service, "office")
        yield
        await asyncio.gather(*(close_pool(app[key]) for key in (LOOK_POOL, FIRM_POOL, OFFICE_POOL)))

    app.on_shutdown.append(stopping)  # before the wait for answers that are under way
    app.cleanup_ctx.append(pools)
    for route in table:
        endpoint = _endpoint(route)
        if route.method == "GET":
            app.router.add_get(route.path, endpoint)  # HEAD comes with it
        else:
            app.router.add_route(route.method, route.path, endpoint)
    return app


async def check_postgres(app: web.Application) -> str | None:
    """Say why the database of an application is not ready; None when it is."""
    async with borrowed(app[LOOK_POOL], LOOK_SECONDS) as conn:
        await conn.execute("select 1")
    return None


def principal_of(request: web.Request) -> Principal:
    """Give whoever calls, on a route with a scope."""
    return request[PRINCIPAL]


def body_of(request: web.Request, model: type[Value]) -> Value:
    """Give the body, as the model that the route names."""
    body = request[_BODY]
    assert isinstance(body, model)
    return body


def query_of(request: web.Request, model: type[Model]) -> Model:
    """Give the query, as the model that the route names."""
    query = request[_QUERY]
    assert isinstance(query, model)
    return query


def path_of(request: web.Request, model: type[Model]) -> Model:
    """Give the address's variables, as the model that the route names."""
    path = request[_PATH]
    assert isinstance(path, model)
    return path


async def read_raw(request: web.Request) -> bytes:
    """Give the body of a route with `raw` as it came, one layer of gzip taken off.

    It was read before the handler began, so that a slow client does not use up its time.
    """
    return request[_RAW]


@asynccontextmanager
async def firm_view(
    request: web.Request, firm_id: str, action: str
) -> AsyncIterator[PostgresConnection]:
    """Open one snapshot of a firm's data: as the firm, or on record as the office that sees all.

    Raises Problem 404 for a firm that is not the caller's. `action` names the read in the trail.
    """
    principal = request[PRINCIPAL]
    require_firm(principal, firm_id)
    if principal.sees_all_firms:
        async with office_transaction(
            request.app[OFFICE_POOL], principal, action, firm_id=firm_id, snapshot=True
        ) as conn:
            yield conn
    else:
        async with firm_transaction(request.app[FIRM_POOL], firm_id, snapshot=True) as conn:
            yield conn


def json_response(
    request: web.Request,
    body: Any,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Answer with a model, or anything that pydantic can write, as JSON.

    A read gets a strong ETag, and 304 when the client already has just that.
    """
    raw = (
        adapter(type(body)).dump_json(body, by_alias=True)
        if isinstance(body, BaseModel)
        else to_json(body, by_alias=True)
    )
    return bytes_response(request, raw, "application/json", status=status, headers=headers)


def bytes_response(
    request: web.Request,
    raw: bytes,
    media: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Answer with bytes of a media type; reads get an ETag as with `json_response`."""
    sent = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})}
    if request.method in {"GET", "HEAD"} and status == 200:
        etag = hashlib.sha256(raw).hexdigest()[:32]
        sent |= {"ETag": f'"{etag}"', "Cache-Control": "private, no-cache"}
        known = request.if_none_match or ()
        if any(tag.value in {etag, "*"} for tag in known):
            return web.Response(status=304, headers=sent)
    charset = "utf-8" if media.startswith("text/") else None
    return web.Response(status=status, body=raw, content_type=media, charset=charset, headers=sent)


def _describing(service: str, routes: Sequence[Route]) -> list[Route]:
    """Make the two routes that describe all others, themselves included."""

    async def document(request: web.Request) -> web.StreamResponse:
        return bytes_response(request, described, "application/json")

    async def page(request: web.Request) -> web.StreamResponse:
        return bytes_response(
            request,
            readable,
            "text/html",
            headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )

    own = [
        Route(
            "GET",
            f"/openapi/{service}.json",
            document,
            scope=None,
            summary="This description",
            response=dict[str, Any],
        ),
        Route(
            "GET",
            f"/docs/{service}",
            page,
            scope=None,
            summary="This description, to read",
            media="text/html",
        ),
    ]
    found = openapi.describe(service, [*routes, *own])
    described = to_json(found)
    readable = openapi.page(found).encode()
    return own


def _endpoint(route: Route) -> Handler:
    """Wrap a handler in the checks that its route names, in the order of their answers."""

    async def serve(request: web.Request) -> web.StreamResponse:
        coming = bool(route.accepts) and not request.content.is_eof()
        with request.app[ROOM].place(coming=coming) as place:
            if route.scope is not None:
                await _admit(request, route)
            _read_address(request, route)
            if route.accepts:
                check_media(request, route.accepts)
                raw = await read_body(request, request.app[LIMITS], place)
                if route.request is not None:
                    request[_BODY] = await _read_json(raw, route.request)
                else:
                    request[_RAW] = raw
            return await _handle(request, route)

    return serve


async def _read_json(raw: bytes, model: Any) -> Any:
    """Read a body into its model; a large one, which may be made to take long, in a thread."""
    if len(raw) <= INLINE_BYTES:
        return read_json(raw, model)
    return await asyncio.to_thread(read_json, raw, model)


async def _handle(request: web.Request, route: Route) -> web.StreamResponse:
    deadline = asyncio.timeout(request.app[LIMITS].handler_seconds)
    try:
        async with deadline:
            return await route.handler(request)
    except TimeoutError:
        if not deadline.expired():
            raise
        raise unavailable("handler_deadline", "This took too long") from None


def _read_address(request: web.Request, route: Route) -> None:
    """Read the address's variables and its query; what a call does not take is refused."""
    if route.variables is not None:
        request[_PATH] = read_path(request, route.variables)
    elif not all(_ID.fullmatch(text) for text in request.match_info.values()):
        raise not_found()
    if route.query is not None:
        request[_QUERY] = read_query(request, route.query)
    elif request.query:
        faults = [Fault("/query", "unknown_field", "This call takes no query")]
        raise Problem(422, "invalid_query", "The query is not what this call takes", errors=faults)


async def _admit(request: web.Request, route: Route) -> None:
    """Find out who calls, and whether they may: 401, then 403, then 404 for a foreign firm."""
    given = request.headers.getall("Authorization", [])
    principal = await authenticate(
        request.app[TOKENS], request.app[_PEPPER], given[0] if len(given) == 1 else None
    )
    request[PRINCIPAL] = principal
    structlog.contextvars.bind_contextvars(principal=principal.id, token_id=principal.token_id)
    assert route.scope is not None
    if not principal.may(route.scope):
        raise Problem(
            403, "scope_missing", "This token may not do this", detail=f"It needs {route.scope}"
        )
    if route.office and not principal.sees_all_firms:
        raise Problem(
            403, "office_only", "This token may not do this", detail='It needs firms: ["*"]'
        )
    if "firm" in route.names:
        require_firm(principal, request.match_info["firm"])


@web.middleware
async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every request, count it, and log it by ids and its route's template."""
    connection = request.protocol
    if isinstance(connection, Connection):
        connection.request_started()
    started = time.perf_counter()
    request_id = secrets.token_hex(8)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    response, code = await _refusals_as_problems(request, handler)
    if not response.prepared:
        response.headers["X-Request-ID"] = request_id
    seconds = time.perf_counter() - started
    resource = request.match_info.route.resource
    template = resource.canonical if resource is not None else "unmatched"
    method = request.method if request.method in _METHODS else "other"
    service = request.app[SERVICE]
    REQUESTS.labels(service, method, template, str(response.status)).inc()
    REQUEST_SECONDS.labels(service, method, template).observe(seconds)
    log.info(
        "request_served",
        method=method,
        route=template,
        status=response.status,
        seconds=round(seconds, 4),
        **({"code": code} if code else {}),
    )
    return response


async def _refusals_as_problems(
    request: web.Request, handler: Handler
) -> tuple[web.StreamResponse, str | None]:
    try:
        return await handler(request), None
    except Problem as problem:
        # Its frames would keep the body in memory until a collection of garbage, which is rare.
        problem.__traceback__ = problem.__context__ = None
        found = problem
    except web.HTTPException as refusal:
        found = problem_of(refusal)
    except Exception as error:  # noqa: BLE001 (the last door: a problem leaves it, or nothing)
        found = _told_of(error)
    if found.status in _COME_AGAIN and request.get(OUTCOME_OPEN, False):
        found = outcome_unknown()
    return problem_response(found), found.code


def _told_of(error: Exception) -> Problem:
    """Say what the client is told of an error that no one expected, and log it."""
    # Closed, closing or cut while it was lent: the driver has no class for it.
    is_cut = isinstance(error, asyncpg.InterfaceError) and any(
        word in str(error) for word in ("clos", "released")
    )
    if is_cut or isinstance(error, _AWAY):
        log.warning("part_unavailable", reason=type(error).__name__)
        return unavailable("unavailable", "A part that this call needs is away; try again")
    if isinstance(error, asyncpg.DataError) and str(error).startswith(_REFUSED_VALUE):
        # A value that its model let pass does not fit its column: the client's, not a fault here.
        log.warning("value_refused", reason=type(error).__name__)
        return Problem(422, "value_range", "A value is out of the range that we can keep")
    log.error("request_failed", exc_info=error)
    return Problem(500, "internal", "Something broke here; it is in our logs")
