"""Connections with deadlines: aiohttp alone keeps a half-sent header open for ever.

A connection that sends no whole header in time, or does not take its answer, is closed; with every
place taken the oldest half-sent one makes way for a new one; what cannot be parsed is answered as
problem+json, unlogged words of the client included.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.web_request import BaseRequest

from services.web.crowd import Crowd, Stage
from services.web.problems import MEDIA_TYPE, Problem, unavailable

BACKLOG = 1_024
READ_BYTES = 65_536
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process lets clients take.

    connections   half-sent ones make way beyond that; fewer where the system gives fewer files
    requests      being worked on at once; beyond, 503 before anything is read or looked up
    held_bytes    bodies in hand, unpacked ones too: about ten times as much memory when read
    unread_bytes  answers that clients do not take, at once; beyond, the oldest is cut off
    """

    header_seconds: float = 5.0
    body_seconds: float = 10.0
    handler_seconds: float = 15.0
    keepalive_seconds: float = 30.0
    answer_seconds: float = 10.0
    drain_seconds: float = 10.0
    body_bytes: int = 4 * 1024 * 1024
    connections: int = 4_096
    requests: int = 128
    held_bytes: int = 16 * 1024 * 1024
    unread_bytes: int = 64 * 1024 * 1024


class _Silent(AbstractAccessLogger):
    """Requests are logged by their route, never by their raw line."""

    @property
    def enabled(self) -> bool:
        return False

    def log(self, request: BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write nothing."""


class Connection(web.RequestHandler):
    """One client's connection: aiohttp's protocol with deadlines on its header and its answers."""

    __slots__ = ("_crowd", "_deadline", "_leaving", "_limits", "_refused", "_stage")

    def __init__(self, server: web.Server, limits: Limits, crowd: Crowd) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.keepalive_seconds,
            lingering_time=limits.body_seconds,
            auto_decompress=False,
            read_bufsize=READ_BYTES,
            access_log_class=_Silent,
        )
        self._limits = limits
        self._crowd = crowd
        self._deadline: asyncio.TimerHandle | None = None
        self._stage = Stage.HALF_SENT
        self._refused = False  # never got in
        self._leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new client, or tell it that there are too many."""
        if not self._crowd.join(self):
            self._refused = True
            assert isinstance(transport, asyncio.Transport)
            self._turn_away(transport, _full())
            return
        super().connection_made(transport)
        self._arm(self._limits.header_seconds, self._close_half_sent)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the client."""
        self._disarm()
        self._leaving = True
        self._crowd.leave(self)
        if not self._refused:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; with the first ones of a header its deadline begins to run."""
        if self._refused:
            return
        if self._stage is Stage.IDLE and data:
            self._move(Stage.HALF_SENT)
            self._arm(self._limits.header_seconds, self._close_half_sent)
        super().data_received(data)

    def request_started(self) -> None:
        """Note that a header, or a body, is whole; the handler has a deadline of its own."""
        self._move(Stage.SERVED)
        self._disarm()

    def body_awaited(self) -> None:
        """Note that a body is still on its way."""
        self._move(Stage.BODY)

    def make_way(self, stage: Stage) -> None:
        """Close, for others need the place more."""
        self._leaving = True
        transport = self.transport
        if transport is None:
            return
        if stage is Stage.UNREAD:
            transport.abort()
        elif stage is Stage.IDLE:
            transport.close()
        else:
            self._turn_away(transport, _full())

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer; one that aiohttp made itself becomes a problem first."""
        self.request_started()
        if isinstance(resp, web.HTTPException):
            close = resp.status == 413
            resp = problem_response(problem_of(resp))
            if close:
                resp.force_close()
        if not resp.prepared:
            resp.headers["Server"] = "turnsheet"
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            if request.content.is_eof():
                self._move(Stage.IDLE)
            else:  # the rest of the body is read and forgotten, but not for ever
                self._move(Stage.HALF_SENT)
                self._arm(self._limits.body_seconds, self._abort)

    def pause_writing(self) -> None:
        """Give a client that does not read its answer a deadline."""
        super().pause_writing()
        self._arm(self._limits.answer_seconds, self._abort)
        if self.transport is not None:
            self._move(Stage.UNREAD, self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Let a client that reads again go on."""
        self._disarm()
        self._move(Stage.SERVED)
        super().resume_writing()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 (aiohttp's signature; it may quote the client)
    ) -> web.StreamResponse:
        """Answer what could not be parsed or served, and close."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was already on its way")
        if status < 500:
            log.info("request_malformed", reason=type(exc).__name__)
            problem = Problem(status, "malformed_request", "This is no HTTP request")
        else:
            log.error("request_failed", exc_info=exc)
            problem = Problem(500, "internal", "Something broke here; it is in our logs")
        response = problem_response(problem)
        response.force_close()
        return response

    def _move(self, stage: Stage, unread_bytes: int = 0) -> None:
        self._stage = stage
        if not self._leaving:
            self._crowd.move(self, stage, unread_bytes)

    def _arm(self, seconds: float, act: Callable[[], None]) -> None:
        self._disarm()
        self._deadline = asyncio.get_running_loop().call_later(seconds, act)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close_half_sent(self) -> None:
        self._deadline = None
        if self.transport is not None:
            late = Problem(408, "header_deadline", "The request's header did not come in time")
            self._turn_away(self.transport, late)

    def _abort(self) -> None:
        self._deadline = None
        if self.transport is not None:
            self.transport.abort()

    @staticmethod
    def _turn_away(transport: asyncio.Transport, problem: Problem) -> None:
        """Answer without a request, and close."""
        body = json.dumps(problem.document()).encode()
        head = [
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}",
            f"Content-Type: {MEDIA_TYPE}",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in problem.headers.items()),
        ]
        transport.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        transport.close()


class GuardedSite(web.BaseSite):
    """A listening port whose connections keep the limits."""

    __slots__ = ("_crowd", "_host", "_limits", "_port")

    def __init__(self, runner: web.AppRunner, host: str, port: int, limits: Limits) -> None:
        super().__init__(runner)
        self._host = host
        self._port = port
        self._limits = limits
        self._crowd = Crowd(limits.connections, limits.unread_bytes)

    @property
    def name(self) -> str:
        """Say where this listens."""
        return f"http://{self._host}:{self._port}"

    @property
    def port(self) -> int:
        """The port that was bound; before the start the one that was asked for."""
        return self._port

    async def start(self) -> None:
        """Bind the port and listen. Raises OSError when it is taken."""
        await super().start()
        server = self._runner.server
        assert server is not None
        listening = await asyncio.get_running_loop().create_server(
            lambda: Connection(server, self._limits, self._crowd),
            self._host,
            self._port,
            backlog=min(self._limits.connections, BACKLOG),
        )
        self._server = listening
        self._port = listening.sockets[0].getsockname()[1]


@contextmanager
def sending(request: web.Request) -> Iterator[None]:
    """Count a connection among the half-sent ones while its client still sends the body."""
    connection = request.protocol
    if not isinstance(connection, Connection):  # an application of a test, on a port of aiohttp's
        yield
        return
    connection.body_awaited()
    yield
    connection.request_started()


def _full() -> Problem:
    return unavailable("too_many_connections", "All connections are taken")


def problem_of(refusal: web.HTTPException) -> Problem:
    """Turn what aiohttp itself refuses into a problem of ours."""
    if refusal.status == 404:
        return Problem(404, "not_found", "There is nothing here under this address")
    if isinstance(refusal, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(refusal.allowed_methods))
        return Problem(
            405, "method_not_allowed", "This address has other methods", headers={"Allow": allowed}
        )
    if refusal.status == 413:
        return Problem(413, "body_too_large", "The body is larger than we take")
    if refusal.status == 417:
        return Problem(417, "expectation_failed", "The only expectation we know is 100-continue")
    return Problem(refusal.status, f"http_{refusal.status}", refusal.reason)


def problem_response(problem: Problem) -> web.Response:
    """Write a problem as the answer to its request."""
    response = web.Response(
        status=problem.status,
        body=json.dumps(problem.document(), ensure_ascii=False).encode("utf-8", "replace"),
        content_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **problem.headers},
    )
    if problem.headers.get("Connection") == "close":
        response.force_close()
    return response
