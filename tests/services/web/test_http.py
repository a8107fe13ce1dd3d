"""The HTTP door: problems for every refusal, limits at their edges, deadlines, a clean stop."""

import asyncio
import gzip
import json
import random
import signal
import subprocess
import sys
import zlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from prometheus_client import REGISTRY
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from services.postgres import connect
from services.settings import SettingsRefused
from services.web.http import (
    Limits,
    Problem,
    Route,
    body_of,
    firm_view,
    json_response,
    make_app,
    make_ops_app,
    path_of,
    principal_of,
    query_of,
    read_raw,
)
from services.web.routes import RouteError, check_routes
from services.web.serving import serve
from tests.tokens import make_token


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    piece: Annotated[str, Field(max_length=8)]
    count: int = 1


class Span(BaseModel):
    model_config = ConfigDict(extra="forbid")

    since: Annotated[date | None, Field(alias="from")] = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    tag: list[str] = []


class Numbered(BaseModel):
    number: Annotated[int, Field(ge=1)]


async def order(request):
    return json_response(request, body_of(request, Order), status=201)


async def look(request):
    return json_response(request, query_of(request, Span))


async def line(request):
    return json_response(request, path_of(request, Numbered))


async def weigh(request):
    return json_response(request, {"bytes": len(await read_raw(request))})


async def firms(request):
    firm = request.match_info["firm"]
    async with firm_view(request, firm, "read_firms") as conn:
        rows = await conn.fetch("select firm_id from firm order by 1")
    return json_response(
        request, {"firms": [row[0] for row in rows], "caller": principal_of(request).id}
    )


async def admire(request):
    raise Problem(409, "too_late", "The month is closed", members={"period": "2026-07"})


async def break_(request):
    raise ValueError("a client's words")


async def dawdle(request):
    await asyncio.sleep(60)


async def number(request):
    async with firm_view(request, request.match_info["firm"], "read_numbers") as conn:
        return json_response(request, {"n": await conn.fetchval("select $1::int", 2**40)})


async def nul(request):
    async with firm_view(request, request.match_info["firm"], "read_nul") as conn:
        return json_response(request, {"n": await conn.fetchval("select $1::text", "a\0b")})


async def pour(request):
    return web.Response(body=b"x" * 30_000_000)


ROUTES = [
    Route("POST", "/v1/orders", order, None, "Order a piece", request=Order, response=Order),
    Route("GET", "/v1/orders", look, None, "Look", query=Span, response=Span),
    Route("GET", "/v1/orders/{order}", admire, None, "Admire"),
    Route("GET", "/v1/lines/{number}", line, None, "A line", variables=Numbered),
    Route("POST", "/v1/weigh", weigh, None, "Weigh", raw=("application/json", "text/csv")),
    Route("GET", "/v1/firms/{firm}/view", firms, "metrics:read", "What a firm sees"),
    Route("GET", "/v1/firms/{firm}/number", number, "metrics:read", "A number too large"),
    Route("GET", "/v1/firms/{firm}/nul", nul, "metrics:read", "No text of Postgres"),
    Route("GET", "/v1/break", break_, None, "Break"),
    Route("GET", "/v1/dawdle", dawdle, None, "Take too long"),
    Route("GET", "/v1/pour", pour, None, "Much to read"),
]


@dataclass
class Door:
    """A running service, and a client at its door."""

    port: int
    ops_port: int
    client: aiohttp.ClientSession
    stop: asyncio.Event
    task: asyncio.Task[None]

    async def ask(self, method: str, path: str, **more: Any) -> aiohttp.ClientResponse:
        url = f"http://127.0.0.1:{self.port}{path}"
        response = await self.client.request(method, url, **more)
        await response.read()
        return response

    async def problem(self, method: str, path: str, **more: Any) -> tuple[int, str, Any]:
        response = await self.ask(method, path, **more)
        assert response.content_type == "application/problem+json", await response.text()
        document = await response.json(content_type=None)
        assert document["status"] == response.status
        assert document["type"] == f"urn:turnsheet:problem:{document['code']}"
        return response.status, document["code"], document.get("errors")

    async def raw(self, sent: bytes, *, end: bool = False) -> bytes:
        """Send bytes as they are, and perhaps an end; read until the connection ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(sent)
            if end:
                writer.write_eof()
            return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def running(settings, limits=None, routes=ROUTES, checks=None):
    stop = asyncio.Event()
    ports: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
    limits = limits or Limits()
    task = asyncio.create_task(
        serve(
            "metrics",
            make_app("metrics", routes, settings, limits),
            make_ops_app(checks or {}, seconds=0.2),
            host="127.0.0.1",
            port=0,
            ops_port=0,
            stop=stop,
            limits=limits,
            started=lambda *found: ports.set_result(found),
        )
    )

    def give_up(ended: asyncio.Task[None]) -> None:
        if not ports.done():
            ports.set_exception(ended.exception() or RuntimeError("it ended before it began"))

    task.add_done_callback(give_up)
    await ports
    async with aiohttp.ClientSession() as client:
        yield Door(*ports.result(), client, stop, task)
    stop.set()
    await task


@pytest.fixture
async def door(plain):
    async with running(plain) as door:
        yield door


@pytest.fixture
async def house(settings):
    """A service with its database."""
    async with running(settings) as door:
        yield door


async def token(settings, kind, **more):
    made = await make_token(settings, kind, principal_id=f"{kind}:someone", **more)
    return {"Authorization": f"Bearer {made}"}


JSON = {"Content-Type": "application/json"}
CSV = {"Content-Type": "text/csv"}


async def test_a_body_is_read_into_its_model(door):
    response = await door.ask("POST", "/v1/orders", json={"piece": "brief", "count": 2})
    assert (response.status, await response.json()) == (201, {"piece": "brief", "count": 2})


@pytest.mark.parametrize(
    ("body", "status", "code", "errors"),
    [
        (b"", 400, "bad_json", [("", "bad_json")]),
        (b"{", 400, "bad_json", [("", "bad_json")]),
        (b'{"piece": "a", "piece": "b"}', 400, "bad_json", [("/piece", "duplicate_key")]),
        (b'{"piece": "a\\u0000"}', 400, "bad_json", [("/piece", "nul")]),
        (b'{"piece": "\\ud800"}', 400, "bad_json", [("/piece", "lone_surrogate")]),
        (b'{"piece": NaN}', 400, "bad_json", [("/piece", "not_finite")]),
        (b'{"count": 99999999999999999999}', 400, "bad_json", [("/count", "number_range")]),
        (b"[" * 17 + b"]" * 17, 400, "bad_json", [("", "too_deep")]),
        (b"\xff", 400, "bad_json", [("", "not_utf8")]),
        (b"{}", 422, "invalid_body", [("/piece", "missing_field")]),
        (b"null", 422, "invalid_body", [("", "model_type")]),
        (b'{"piece": 1}', 422, "invalid_body", [("/piece", "string_type")]),
        (b'{"piece": "a", "count": "1"}', 422, "invalid_body", [("/count", "int_type")]),
        (b'{"piece": "a", "price/~": 1}', 422, "invalid_body", [("/price~1~0", "unknown_field")]),
    ],
)
async def test_a_body_that_is_wrong_is_told_where_and_why(door, body, status, code, errors):
    found = await door.problem("POST", "/v1/orders", data=body, headers=JSON)
    assert (*found[:2], [(e["pointer"], e["code"]) for e in found[2]]) == (status, code, errors)


async def test_an_answer_never_repeats_the_words_it_was_sent(door):
    response = await door.ask("POST", "/v1/orders", json={"piece": "privileged-words", "count": 1})
    assert response.status == 422
    assert "privileged" not in await response.text()


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": ""},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "br"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip, gzip"},
    ],
)
async def test_another_type_or_encoding_of_body_is_refused(door, headers):
    assert (await door.problem("POST", "/v1/orders", data=b"{}", headers=headers))[0] == 415


async def test_a_query_is_read_into_its_model(door):
    response = await door.ask("GET", "/v1/orders?from=2026-07-01&limit=500&tag=a&tag=b")
    assert await response.json() == {"from": "2026-07-01", "limit": 500, "tag": ["a", "b"]}


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("limit=501", ("/query/limit", "less_than_equal")),
        ("limit=x", ("/query/limit", "int_parsing")),
        ("limit=1&limit=2", ("/query/limit", "repeated")),
        ("from=July", ("/query/from", "date_from_datetime_parsing")),
        ("until=2026-07-01", ("/query/until", "unknown_field")),
        ("tag=%00", ("/query", "not_printable")),
        ("tag=%ff%fe", ("/query", "not_printable")),
    ],
)
async def test_a_query_that_is_wrong_is_told_where_and_why(door, query, error):
    status, code, errors = await door.problem("GET", f"/v1/orders?{query}")
    assert (status, code) == (422, "invalid_query")
    assert [(e["pointer"], e["code"]) for e in errors] == [error]


async def test_a_call_without_a_query_takes_none(door):
    assert (await door.problem("GET", "/v1/orders/o-1?x=1"))[:2] == (422, "invalid_query")


async def test_a_variable_is_an_id_or_nothing_is_there(door):
    assert (await door.problem("GET", "/v1/orders/o-1"))[:2] == (409, "too_late")
    for name in ("%00", "a%2Fb", "%ff", "a%20b", "x" * 129, "é"):
        assert (await door.problem("GET", f"/v1/orders/{name}"))[:2] == (404, "not_found")


async def test_a_typed_variable_is_read_into_its_model(door):
    assert await (await door.ask("GET", "/v1/lines/7")).json() == {"number": 7}
    status, code, errors = await door.problem("GET", "/v1/lines/0")
    assert (status, code, errors[0]["pointer"]) == (422, "invalid_path", "/path/number")


async def test_a_problem_carries_its_members(door):
    document = await (await door.ask("GET", "/v1/orders/o-1")).json(content_type=None)
    assert document == {
        "type": "urn:turnsheet:problem:too_late",
        "title": "The month is closed",
        "status": 409,
        "code": "too_late",
        "period": "2026-07",
    }


async def test_an_unknown_address_and_method_are_problems_too(door):
    assert (await door.problem("GET", "/v1/nowhere"))[:2] == (404, "not_found")
    assert (await door.problem("GET", "//v1/orders"))[:2] == (404, "not_found")
    for method in ("DELETE", "OPTIONS", "TRACE", "PROPFIND"):
        assert (await door.problem(method, "/v1/orders"))[:2] == (405, "method_not_allowed")
    response = await door.ask("PUT", "/v1/orders")
    assert response.headers["Allow"] == "GET, HEAD, POST"


async def test_an_unknown_expectation_is_a_problem(door):
    headers = {**JSON, "Expect": "a miracle"}
    assert (await door.problem("POST", "/v1/orders", data=b"{}", headers=headers))[0] == 417


async def test_a_fault_of_ours_is_a_problem_without_its_words(door):
    response = await door.ask("GET", "/v1/break")
    assert (response.status, response.content_type) == (500, "application/problem+json")
    assert "words" not in await response.text()


async def test_every_answer_names_its_request_and_no_server_version(door):
    found = set()
    for path in ("/v1/orders", "/v1/nowhere", "/v1/break"):
        response = await door.ask("GET", path)
        assert response.headers["Server"] == "turnsheet"
        found.add(response.headers["X-Request-ID"])
    assert len(found) == 3


async def test_a_read_is_not_sent_again_to_who_has_it(door):
    first = await door.ask("GET", "/v1/orders")
    etag = first.headers["ETag"]
    assert etag.startswith('"')
    for known in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        again = await door.ask("GET", "/v1/orders", headers={"If-None-Match": known})
        assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", etag)
    other = await door.ask("GET", "/v1/orders?limit=2", headers={"If-None-Match": etag})
    assert other.status == 200
    head = await door.ask("HEAD", "/v1/orders")
    assert (head.status, head.headers["ETag"], await head.read()) == (200, etag, b"")


# Who may call.


async def test_the_order_of_refusals_is_who_then_may_then_whose_then_what(settings, house):
    reader = await token(settings, "firm", firms=["north"])
    tracker = await token(settings, "tracker")
    path = "/v1/firms/{}/view?{}"
    assert (await house.problem("GET", path.format("south", "x=1")))[0] == 401
    found = await house.problem("GET", path.format("south", "x=1"), headers=tracker)
    assert found[:2] == (403, "scope_missing")
    assert (await house.problem("GET", path.format("south", "x=1"), headers=reader))[0] == 404
    assert (await house.problem("GET", path.format("north", "x=1"), headers=reader))[0] == 422
    assert (await house.ask("GET", path.format("north", ""), headers=reader)).status == 200


async def test_a_foreign_firm_answers_byte_for_byte_like_none(settings, house):
    reader = await token(settings, "firm", firms=["north"])
    writer = await connect(settings, "metrics", "writer")
    await writer.execute("insert into firm (firm_id) values ('south')")
    await writer.close()
    answers = []
    for firm in ("south", "no-such-firm"):
        response = await house.ask("GET", f"/v1/firms/{firm}/view", headers=reader)
        kept = {k: v for k, v in response.headers.items() if k not in {"Date", "X-Request-ID"}}
        answers.append((response.status, kept, await response.read()))
    assert answers[0] == answers[1]


async def test_a_firm_reads_as_itself_and_the_office_on_record(settings, house):
    writer = await connect(settings, "metrics", "writer")
    await writer.execute("insert into firm (firm_id) values ('north'), ('south')")
    reader = await token(settings, "firm", firms=["north"])
    office = await token(settings, "finance", firms=["*"])
    mine = await house.ask("GET", "/v1/firms/north/view", headers=reader)
    all_ = await house.ask("GET", "/v1/firms/north/view", headers=office)
    assert await mine.json() == {"firms": ["north"], "caller": "firm:someone"}
    assert await all_.json() == {"firms": ["north", "south"], "caller": "finance:someone"}
    trail = await writer.fetch("select firm_id, actor, action from audit")
    await writer.close()
    assert [tuple(row) for row in trail] == [("north", "finance:someone", "read_firms")]


async def test_two_credentials_are_none(settings, house):
    reader = await token(settings, "firm", firms=["north"])
    twice = [*reader.items(), *reader.items()]
    path = "/v1/firms/north/view"
    assert (await house.problem("GET", path, headers=twice))[0] == 401


async def test_a_database_that_is_away_is_told_as_503(settings):
    away = settings.model_copy(update={"database_url": "postgresql://o:p@127.0.0.1:9/none"})
    reader = await token(settings, "firm", firms=["north"])
    async with running(away) as door:
        response = await door.ask("GET", "/v1/firms/north/view", headers=reader)
        assert (response.status, response.headers["Retry-After"]) == (503, "2")
        assert (await door.problem("GET", "/v1/firms/north/view", headers=reader))[0] == 503


async def test_a_value_that_fits_no_column_is_the_clients(settings, house):
    reader = await token(settings, "firm", firms=["north"])
    found = await house.problem("GET", "/v1/firms/north/number", headers=reader)
    assert found[:2] == (422, "value_range")


async def test_what_the_database_says_in_other_words_is_a_fault_that_is_told_and_counted(
    settings, house
):
    reader = await token(settings, "firm", firms=["north"])
    with structlog.testing.capture_logs() as logs:
        response = await house.ask("GET", "/v1/firms/north/nul", headers=reader)
        found = await response.json()
    assert (response.status, found["type"]) == (500, "urn:turnsheet:problem:internal")
    assert response.headers["X-Request-ID"]
    told = [line["event"] for line in logs]
    assert (told.count("request_failed"), told.count("request_served")) == (1, 1)


async def test_more_faults_than_anyone_reads_are_one(door):
    body = b"{" + b",".join(b'"x%d":1' % n for n in range(10_001)) + b"}"
    found = await door.problem("POST", "/v1/orders", data=body, headers=JSON)
    assert (found[0], [e["code"] for e in found[2]]) == (422, ["too_many_faults"])
    body = b"{" + b",".join(b'"x%d":1' % n for n in range(5_000)) + b"}"
    found = await door.problem("POST", "/v1/orders", data=body, headers=JSON)
    assert (found[0], len(found[2])) == (422, 100)


# Limits and deadlines.


@pytest.mark.parametrize("excess", [-1, 0, 1])
@pytest.mark.parametrize("form", ["plain", "gzip", "chunked"])
async def test_a_body_has_a_largest_size_before_and_after_decompression(plain, excess, form):
    async with running(plain, Limits(body_bytes=100_000)) as door:
        body = b"x" * (100_000 + excess)
        if form == "chunked":

            async def pieces():
                yield body[:60_000]
                yield body[60_000:]

            response = await door.ask("POST", "/v1/weigh", data=pieces(), headers=CSV)
        elif form == "gzip":
            headers = {**CSV, "Content-Encoding": "gzip"}
            response = await door.ask(
                "POST", "/v1/weigh", data=gzip.compress(body), headers=headers
            )
        else:
            response = await door.ask("POST", "/v1/weigh", data=body, headers=CSV)
        if excess > 0:
            assert (response.status, response.content_type) == (413, "application/problem+json")
        else:
            assert await response.json() == {"bytes": len(body)}


async def test_the_largest_body_is_four_mebibytes():
    assert Limits().body_bytes == 4 * 1024 * 1024


async def test_a_bomb_is_refused_without_being_unpacked(door):
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    bomb = b"".join(packer.compress(b"\0" * 1_000_000) for _ in range(200)) + packer.flush()
    headers = {**CSV, "Content-Encoding": "gzip"}
    assert (await door.problem("POST", "/v1/weigh", data=bomb, headers=headers))[0] == 413


@pytest.mark.parametrize(
    "body",
    [
        b"no gzip",
        gzip.compress(b"x" * 100)[:-1],
        gzip.compress(b"x") + b"tail",
        gzip.compress(b"x") + gzip.compress(b"y"),
        b"",
    ],
    ids=["no gzip", "cut short", "with a tail", "two members", "empty"],
)
async def test_broken_gzip_is_told(door, body):
    headers = {**CSV, "Content-Encoding": "gzip"}
    assert (await door.problem("POST", "/v1/weigh", data=body, headers=headers))[:2] == (
        400,
        "bad_gzip",
    )


async def test_two_layers_of_gzip_are_read_as_one(door):
    twice = gzip.compress(gzip.compress(b"x" * 1000))
    response = await door.ask(
        "POST", "/v1/weigh", data=twice, headers={**CSV, "Content-Encoding": "gzip"}
    )
    assert await response.json() == {"bytes": len(gzip.compress(b"x" * 1000))}


QUICK = Limits(header_seconds=0.3, body_seconds=0.3, handler_seconds=0.3, keepalive_seconds=0.5)


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /v1/orders HTTP/1.1\r\nHost: x\r\nX-A"])
async def test_a_half_sent_header_is_closed_in_time(plain, sent):
    async with running(plain, QUICK) as door:
        started = asyncio.get_running_loop().time()
        answer = await asyncio.wait_for(door.raw(sent), 5)
        assert asyncio.get_running_loop().time() - started < 2
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "header_deadline"


async def test_a_header_that_drips_is_closed_in_time(plain):
    """Bytes that keep coming do not push the deadline."""
    async with running(plain, QUICK) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)

        async def drip():
            writer.write(b"GET /v1/orders HTTP/1.1\r\n")
            while not writer.is_closing():
                writer.write(b"X-A: b\r\n")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        answer = await asyncio.wait_for(reader.read(), 5)
        dripping.cancel()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 408")


async def test_a_second_request_on_a_connection_has_its_header_deadline_too(plain):
    async with running(plain, QUICK) as door:
        sent = b"GET /v1/orders HTTP/1.1\r\nHost: x\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(sent)
        await reader.readuntil(b"}")
        writer.write(sent[:-2])
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert b"HTTP/1.1 408" in answer


async def test_an_idle_connection_is_closed_after_its_keep_alive(plain):
    async with running(plain, QUICK) as door:
        sent = b"GET /v1/orders HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = await asyncio.wait_for(door.raw(sent), 5)
        assert answer.count(b"HTTP/1.1") == 1
        assert answer.startswith(b"HTTP/1.1 200")


async def test_a_half_sent_body_is_answered_in_time(plain):
    async with running(plain, QUICK) as door:
        head = b"POST /v1/weigh HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
        answer = await asyncio.wait_for(door.raw(head + b"Content-Length: 9\r\n\r\nabc"), 5)
        assert answer.startswith(b"HTTP/1.1 408")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "body_deadline"


async def test_a_handler_that_takes_too_long_is_told_as_503(plain):
    async with running(plain, QUICK) as door:
        assert (await door.problem("GET", "/v1/dawdle"))[:2] == (503, "handler_deadline")


async def test_a_client_that_does_not_take_its_answer_is_cut_off(plain):
    async with running(plain, Limits(answer_seconds=0.3)) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1024)
        writer.write(b"GET /v1/pour HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readline()
        await asyncio.sleep(1)  # the silence itself is what is proved
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(30_000_000), 5)
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GARBAGE\r\n\r\n",
        b"GET /v1/orders HTTP/9.9\r\n\r\n",
        b"GET /v1/orders HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
        b"GET /v1/orders HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
        b"GET /" + b"y" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/weigh HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        (
            b"POST /v1/weigh HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        b"POST /v1/weigh HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        (
            b"POST /v1/weigh HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n\r\n"
        ),
    ],
)
async def test_what_is_no_http_is_a_problem_and_the_connection_ends(plain, sent):
    async with running(plain, QUICK) as door:
        answer = await asyncio.wait_for(door.raw(sent), 5)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split(b" ")[1] in {b"400", b"408"}, answer
        assert b"application/problem+json" in head
        assert json.loads(body)["status"] in {400, 408}


async def test_nothing_that_is_sent_is_answered_with_a_fault_of_ours(plain):
    """Lawful requests with bytes changed, cut, doubled and moved: each is served or refused."""
    chance = random.Random(7)
    async with running(plain, QUICK) as door:
        for _ in range(300):
            sent = bytearray(chance.choice(LAWFUL))
            for _ in range(chance.randint(1, 6)):
                place = chance.randrange(len(sent))
                match chance.randrange(4):
                    case 0:
                        sent[place] = chance.randrange(256)
                    case 1:
                        del sent[place : place + chance.randrange(1, 8)]
                    case 2:
                        sent[place:place] = chance.choice(ODD)
                    case _:
                        sent[place:place] = sent[place : place + chance.randrange(1, 40)]
                sent = sent or bytearray(b"\r\n")
            answer = await asyncio.wait_for(door.raw(bytes(sent), end=True), 5)
            if answer:
                assert int(answer.split(b" ")[1]) < 500, bytes(sent)


LAWFUL = [
    b"GET /v1/orders?from=2026-07-01&tag=a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /v1/orders/o-1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /v1/lines/7 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    (
        b"GET /v1/firms/north/view HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Authorization: Bearer tns_firm_0123456789abcdef_x\r\n\r\n"
    ),
    (
        b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\n"
        b'Content-Length: 30\r\n\r\n{"piece": "brief", "count": 2}'
    ),
    (
        b"POST /v1/weigh HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: text/csv\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\na,b\r\n0\r\n\r\n"
    ),
]
ODD = [
    b"\x00", b"\xff", b"%00", b"%", b"\r\n", b"\n", b"..", b"//", b"?", b"&", b"=", b"9" * 40,
    b"{", b'"', b"\\ud800", b"Content-Encoding: gzip\r\n", b"Expect: 100-continue\r\n",
    b"Content-Length: 5\r\n", b"Upgrade: websocket\r\n", b"If-None-Match: \r\n", b"e9", b"-",
]  # fmt: skip


async def test_without_a_pepper_nothing_is_served(plain):
    bare = plain.model_copy(update={"token_pepper": SecretStr("")})
    with pytest.raises(SettingsRefused, match="TURNSHEET_TOKEN_PEPPER"):
        make_app("metrics", ROUTES, bare)


# What is described, counted and logged.


async def test_what_is_described_is_what_is_served(door):
    document = await (await door.ask("GET", "/openapi/metrics.json")).json()
    assert document["openapi"] == "3.1.0"
    assert {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    } == {(route.method, route.path) for route in ROUTES} | {
        ("GET", "/openapi/metrics.json"),
        ("GET", "/docs/metrics"),
    }
    look = document["paths"]["/v1/orders"]["get"]
    assert [(p["name"], p["in"], p["required"]) for p in look["parameters"]] == [
        ("from", "query", False),
        ("limit", "query", False),
        ("tag", "query", False),
    ]
    order = document["paths"]["/v1/orders"]["post"]
    assert order["requestBody"]["content"] == {
        "application/json": {"schema": {"$ref": "#/components/schemas/Order"}}
    }
    view = document["paths"]["/v1/firms/{firm}/view"]["get"]
    assert (view["security"], view["x-scope"]) == ([{"token": []}], "metrics:read")
    assert {"401", "403", "404", "503"} <= set(view["responses"])
    references = set(find_references(document))
    assert references
    assert references <= {f"#/components/schemas/{n}" for n in document["components"]["schemas"]}


def find_references(value):
    if isinstance(value, dict):
        yield from [value["$ref"]] if "$ref" in value else []
        for item in value.values():
            yield from find_references(item)
    elif isinstance(value, list):
        for item in value:
            yield from find_references(item)


async def test_the_page_loads_nothing_and_runs_nothing(door):
    response = await door.ask("GET", "/docs/metrics")
    text = await response.text()
    assert response.content_type == "text/html"
    assert "/v1/firms/{firm}/view" in text
    assert "<script" not in text
    assert "application/json <a href='#Order'>Order</a>" in text
    assert "<details id='Order'>" in text
    assert "http" not in text.replace("</html>", "").lower() or "://" not in text
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (Route("GET", "/v1/orders/{other}", look, None, "Twice"), "described twice"),
        (Route("GET", "/v1/a", look, "root", "A"), "no scope root"),  # type: ignore[arg-type]  # the flaw
        (Route("GET", "/v1/firms/{firm}/a", look, None, "A"), "needs a scope"),
        (Route("GET", "/v1/a", look, None, "A", request=Order), "a GET has no body"),
        (Route("GET", "/v1/a", look, None, "A", query=Numbered), "forbid unknown names"),
        (Route("GET", "/v1/a", look, None, ""), "needs a summary"),
        (
            Route("POST", "/v1/a", look, None, "A", request=Order, raw=("text/csv",)),
            "not both",
        ),
    ],
)
def test_a_table_that_breaks_its_rules_does_not_start(route, words):
    with pytest.raises(RouteError, match=words):
        check_routes([*ROUTES, route])


async def test_a_request_is_logged_by_ids_and_template_and_counted(settings, house):
    reader = await token(settings, "firm", firms=["north"])
    path = "/v1/firms/{firm}/view"
    labels = {"service": "metrics", "method": "GET", "route": path, "status": "200"}
    before = REGISTRY.get_sample_value("turnsheet_http_requests_total", labels) or 0
    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as logs:
        await house.ask("GET", "/v1/firms/north/view", headers=reader)
        await house.problem("GET", "/v1/orders?secret-words=1")
        await house.problem("GET", "/secret-words")
    assert REGISTRY.get_sample_value("turnsheet_http_requests_total", labels) == before + 1
    served = [entry for entry in logs if entry["event"] == "request_served"]
    assert [(e["method"], e["route"], e["status"], e.get("code")) for e in served] == [
        ("GET", path, 200, None),
        ("GET", "/v1/orders", 422, "invalid_query"),
        ("GET", "unmatched", 404, "not_found"),
    ]
    assert served[0]["principal"] == "firm:someone"
    assert "principal" not in served[1]
    assert "secret-words" not in str(logs)
    assert reader["Authorization"][-20:] not in str(logs)


async def test_metrics_have_no_ids_in_their_labels(settings, house):
    await house.ask("GET", "/v1/orders/some-client-matter")
    await house.ask("GET", "/some-client-matter")
    await house.ask("SOMEMATTER", "/v1/orders")
    text = await (await house.client.get(f"http://127.0.0.1:{house.ops_port}/metrics")).text()
    assert 'route="/v1/orders/{order}"' in text
    assert "matter" not in text.lower()


# Operations.


async def test_ready_is_what_each_check_says(plain):
    async def well():
        return None

    async def lagging():
        return "lagging"

    async def hanging():
        await asyncio.sleep(60)

    async def broken():
        raise ConnectionRefusedError

    checks = {"well": well, "lagging": lagging, "hanging": hanging, "broken": broken}
    async with running(plain, checks=checks) as door:
        url = f"http://127.0.0.1:{door.ops_port}"
        response = await door.client.get(f"{url}/readyz")
        found = await response.json()
        assert (response.status, found["ready"]) == (503, False)
        assert {name: check.get("reason") for name, check in found["checks"].items()} == {
            "well": None,
            "lagging": "lagging",
            "hanging": "no answer in time",
            "broken": "ConnectionRefusedError",
        }
        assert (await door.client.get(f"{url}/livez")).status == 200
    async with running(plain, checks={"well": well}) as door:
        assert (await door.client.get(f"http://127.0.0.1:{door.ops_port}/readyz")).status == 200


async def test_a_stop_lets_a_request_end(plain):
    entered, released = asyncio.Event(), asyncio.Event()

    async def held(request):
        entered.set()
        await released.wait()
        return json_response(request, {"done": True})

    async with running(plain, routes=[Route("GET", "/v1/held", held, None, "Wait")]) as door:
        asking = asyncio.create_task(door.ask("GET", "/v1/held"))
        await entered.wait()
        door.stop.set()
        await asyncio.sleep(0.1)
        assert not door.task.done()
        released.set()
        response = await asking
        assert await response.json() == {"done": True}
        await asyncio.wait_for(door.task, 5)


SERVICE = """
from services.web.http import Route, json_response, make_app, make_ops_app, run_service
from services.settings import load

async def look(request):
    return json_response(request, {"ok": True})

settings = load()
app = make_app("metrics", [Route("GET", "/v1/look", look, None, "Look")], settings)
run_service("metrics", app, make_ops_app({}), settings)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_service_with_exit_0(settings, number):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVICE,
        env={
            "PYTHONPATH": ".",
            "DATABASE_URL": settings.database_url,
            "TURNSHEET_HOME": str(settings.home),
            "TURNSHEET_TOKEN_PEPPER": "-",
            "TURNSHEET_METRICS_PORT": "0",
            "TURNSHEET_METRICS_OPS_PORT": "0",
            "TURNSHEET_LOG_FORMAT": "json",
        },
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        started = json.loads(await process.stderr.readline())
        assert started["event"] == "service_started"
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://127.0.0.1:{started['port']}/v1/look") as response,
        ):
            assert await response.json() == {"ok": True}
        process.send_signal(number)
        _, rest = await asyncio.wait_for(process.communicate(), 10)
        events = [json.loads(text)["event"] for text in rest.splitlines()]
        assert process.returncode == 0
        assert events == ["request_served", "service_stopping", "service_stopped"]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
