"""What one process takes on: places for connections, requests at once, bytes in hand, files."""

import asyncio
import gzip
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from services.web.crowd import Crowd, Stage
from services.web.deadlines import Limits
from services.web.http import Route, json_response, read_raw
from services.web.problems import Problem
from services.web.room import Room
from services.web.serving import FILES_RESERVED
from tests.locks import until_waiting
from tests.services.web.test_http import running
from tests.tokens import make_token

HALF = b"GET /v1/look HTTP/1.1\r\nHost: x\r\n"
LOOK = b"GET /v1/look HTTP/1.1\r\nHost: x\r\n\r\n"
CSV = {"Content-Type": "text/csv"}


async def look(request):
    return json_response(request, {"ok": True})


async def weigh(request):
    return json_response(request, {"bytes": len(await read_raw(request))})


async def pour(request):
    return web.Response(body=b"x" * 20_000_000)


class Held:
    """A call that is answered when the test says so."""

    def __init__(self):
        self.entered = 0
        self.released = asyncio.Event()

    async def wait(self, request):
        self.entered += 1
        if request.method == "POST":
            await read_raw(request)
        await self.released.wait()
        return json_response(request, {"done": True})

    async def until_entered(self, count):
        async with asyncio.timeout(5):
            while self.entered < count:  # noqa: ASYNC110 (nobody sets an event for it)
                await asyncio.sleep(0.005)


@asynccontextmanager
async def house(plain: Any, limits: Any) -> AsyncIterator[Any]:
    held = Held()
    routes = [
        Route("GET", "/v1/look", look, None, "Look"),
        Route("GET", "/v1/held", held.wait, None, "Wait"),
        Route("POST", "/v1/kept", held.wait, None, "Wait with a body", raw=("text/csv",)),
        Route("POST", "/v1/weigh", weigh, None, "Weigh", raw=("text/csv",)),
        Route("POST", "/v1/weigh-known", weigh, "events:write", "Weigh", raw=("text/csv",)),
        Route("GET", "/v1/pour", pour, None, "Much to read"),
    ]
    async with running(plain, limits, routes) as found, AsyncExitStack() as stack:
        door: Any = found
        door.held = held

        async def send(sent):
            """Open a connection and send some bytes; it is closed at the end."""
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            stack.callback(writer.close)
            writer.write(sent)
            await writer.drain()
            return reader, writer

        door.send = send
        try:
            yield door
        finally:
            held.released.set()


async def answer_on(reader):
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return int(head.split(b" ")[1]), head, await reader.readexactly(length)


# Places for connections.


async def test_with_every_place_taken_the_oldest_half_sent_one_makes_way(plain):
    async with house(plain, Limits(connections=3)) as door:
        first, _ = await door.send(HALF)
        second, writer = await door.send(HALF)
        third, _ = await door.send(LOOK)
        assert (await answer_on(third))[0] == 200
        fourth, _ = await door.send(LOOK)
        assert (await answer_on(fourth))[0] == 200
        status, head, body = await answer_on(first)
        assert (status, json.loads(body)["code"]) == (503, "too_many_connections")
        assert b"Retry-After: 2\r\n" in head
        assert await first.read() == b""
        writer.write(b"\r\n")
        assert (await answer_on(second))[0] == 200


async def test_an_idle_one_makes_way_after_the_half_sent_and_before_a_body_that_comes(plain):
    async with house(plain, Limits(connections=2)) as door:
        body, writer = await door.send(
            b"POST /v1/weigh HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
            b"Content-Length: 4\r\n\r\nab"
        )
        idle, _ = await door.send(LOOK)
        await answer_on(idle)
        third, _ = await door.send(LOOK)
        assert (await answer_on(third))[0] == 200
        assert await asyncio.wait_for(idle.read(), 5) == b""
        writer.write(b"cd")
        assert (await answer_on(body))[2] == b'{"bytes":4}'


async def test_a_body_that_comes_makes_way_last_and_a_served_request_never(plain):
    async with house(plain, Limits(connections=2)) as door:
        served, _ = await door.send(b"GET /v1/held HTTP/1.1\r\nHost: x\r\n\r\n")
        await door.held.until_entered(1)
        body, _ = await door.send(
            b"POST /v1/weigh HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
            b"Content-Length: 4\r\n\r\nab"
        )
        await asyncio.sleep(0.05)  # until its header was read; nothing tells
        other, _ = await door.send(b"GET /v1/held HTTP/1.1\r\nHost: x\r\n\r\n")
        await door.held.until_entered(2)
        status, _, raw = await answer_on(body)
        assert (status, json.loads(raw)["code"]) == (503, "too_many_connections")
        refused, _ = await door.send(LOOK)
        status, head, raw = await answer_on(refused)
        assert (status, json.loads(raw)["code"]) == (503, "too_many_connections")
        assert b"Retry-After: 2\r\n" in head
        door.held.released.set()
        for reader in (served, other):
            assert (await answer_on(reader))[0] == 200
        again, _ = await door.send(LOOK)
        assert (await answer_on(again))[0] == 200


async def test_an_answered_request_whose_body_still_comes_counts_as_half_sent(plain):
    async with house(plain, Limits(connections=1, body_seconds=0.5)) as door:
        unread, writer = await door.send(
            b"POST /v1/nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc"
        )
        assert (await answer_on(unread))[0] == 404
        other, _ = await door.send(LOOK)
        assert (await answer_on(other))[0] == 200
        await asyncio.wait_for(unread.read(), 5)
        assert unread.at_eof()
        writer.close()


class Somebody:
    made_way: Any = None

    def make_way(self, stage):
        self.made_way = stage


def test_answers_that_nobody_takes_are_cut_off_from_the_oldest_on():
    crowd = Crowd(10, unread_bytes=100)
    first, second, third = (Somebody() for _ in range(3))
    for one in (first, second, third):
        assert crowd.join(one)
    crowd.move(first, Stage.UNREAD, 50)
    crowd.move(second, Stage.UNREAD, 50)
    assert first.made_way is None
    crowd.move(third, Stage.UNREAD, 1)
    assert [first.made_way, second.made_way] == [Stage.UNREAD, None]
    assert len(crowd) == 2
    crowd.move(second, Stage.SERVED)
    crowd.move(third, Stage.UNREAD, 100)
    assert third.made_way is None
    crowd.leave(third)
    crowd.move(second, Stage.UNREAD, 101)
    assert second.made_way == Stage.UNREAD
    assert len(crowd) == 0


async def test_readers_that_take_nothing_hold_no_more_than_the_limit(plain):
    limits = Limits(unread_bytes=30_000_000, answer_seconds=60)
    async with house(plain, limits) as door:
        readers = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1024)
            writer.write(b"GET /v1/pour HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readline()
            readers.append((reader, writer))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(readers[0][0].readexactly(20_000_000), 5)
        await asyncio.wait_for(readers[2][0].readexactly(20_000_000), 5)
        for _, writer in readers:
            writer.close()


# Requests at once.


async def test_beyond_so_many_requests_at_once_one_is_refused_before_anything_is_looked_up(plain):
    async with house(plain, Limits(requests=2)) as door:
        asking = [asyncio.create_task(door.ask("GET", "/v1/held")) for _ in range(2)]
        await door.held.until_entered(2)
        response = await door.ask("GET", "/v1/look")
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert (await door.problem("POST", "/v1/weigh", data=b"x"))[:2] == (503, "overloaded")
        door.held.released.set()
        assert [(await one).status for one in asking] == [200, 200]
        assert (await door.ask("GET", "/v1/look")).status == 200


async def test_a_client_that_still_sends_takes_no_place_from_others(plain):
    async with house(plain, Limits(requests=1)) as door:
        body, writer = await door.send(
            b"POST /v1/weigh HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\n"
            b"Content-Length: 4\r\n\r\nab"
        )
        for _ in range(20):
            assert (await door.ask("GET", "/v1/look")).status == 200
        writer.write(b"cd")
        assert (await answer_on(body))[2] == b'{"bytes":4}'


def test_who_has_sent_all_finds_twice_the_places_that_newcomers_do():
    room = Room(1, 100)
    with room.place(coming=True) as first, room.place(coming=True) as second, room.place():
        assert room.requests == 1
        with pytest.raises(Problem, match="503 overloaded"), room.place(coming=True):
            pass
        first.come()
        assert room.requests == 2
        with pytest.raises(Problem, match="503 overloaded"):
            second.come()
    assert room.requests == 0


async def test_half_sent_requests_whose_token_is_looked_up_take_no_place_from_whole_ones(settings):
    """However long the look takes: of a slow database, or for a burst that comes at once."""
    token = await make_token(settings)
    headers = {**CSV, "Authorization": f"Bearer {token}"}
    half = "POST /v1/weigh-known HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in headers.items()
    )
    owner = await asyncpg.connect(settings.database_url)
    async with house(settings, Limits(requests=1)) as door:
        async with owner.transaction():
            await owner.execute("lock table identity.token in access exclusive mode")
            sent = [await door.send(f"{half}\r\nab".encode()) for _ in range(3)]
            await until_waiting(owner, "relation")
            asking = [
                asyncio.create_task(
                    door.ask("POST", "/v1/weigh-known", data=b"whole", headers=headers)
                )
                for _ in range(2)
            ]
            # One of the two has a place, for only then the other has none.
            (refused,), _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            assert (await refused).status == 503
        assert sorted([(await one).status for one in asking]) == [200, 503]
        for body, writer in sent:
            writer.write(b"cd")
            assert (await answer_on(body))[2] == b'{"bytes":4}'
    await owner.close()


# Bytes in hand.


@pytest.mark.parametrize("excess", [-1, 0, 1])
@pytest.mark.parametrize("form", ["plain", "gzip"])
async def test_bodies_in_hand_hold_no_more_than_the_limit(plain, excess, form):
    packed = gzip.compress(b"y" * 400)
    size = 1_000 - (400 + len(packed) if form == "gzip" else 400)
    async with house(plain, Limits(held_bytes=1_000)) as door:
        kept = asyncio.create_task(
            door.ask("POST", "/v1/kept", data=b"x" * (size + excess), headers=CSV)
        )
        await door.held.until_entered(1)
        if form == "gzip":
            headers = {**CSV, "Content-Encoding": "gzip"}
            response = await door.ask("POST", "/v1/weigh", data=packed, headers=headers)
        else:
            response = await door.ask("POST", "/v1/weigh", data=b"y" * 400, headers=CSV)
        if excess > 0:
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
            assert (await response.json(content_type=None))["code"] == "overloaded"
        else:
            assert await response.json() == {"bytes": 400}
        door.held.released.set()
        assert (await kept).status == 200
        full = await door.ask("POST", "/v1/weigh", data=b"x" * 1_000, headers=CSV)
        assert await full.json() == {"bytes": 1_000}


async def test_what_one_process_takes_on_is_told():
    limits = Limits()
    assert (limits.connections, limits.requests) == (4_096, 128)
    assert (limits.held_bytes, limits.unread_bytes) == (16 * 2**20, 64 * 2**20)


# Open files.

FIT = """
import resource, sys
from services.web.deadlines import Limits
from services.web.serving import fit_files
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
print(fit_files(Limits(connections=300)).connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
WANTED = 300 + FILES_RESERVED


@pytest.mark.parametrize(
    ("soft", "hard", "told"),
    [
        (256, WANTED + 1, f"300 {WANTED}"),
        (256, WANTED, f"300 {WANTED}"),
        (WANTED + 1, WANTED + 1, f"300 {WANTED + 1}"),
        (256, WANTED - 1, f"299 {WANTED - 1}"),
        (256, 400, "144 400"),
    ],
)
def test_a_process_raises_its_limit_of_files_as_far_as_it_may(soft, hard, told):
    done = subprocess.run(
        [sys.executable, "-c", FIT, str(soft), str(hard)],
        env={"PYTHONPATH": "."}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == told
    assert ("raise the limit (ulimit -Hn) to" in done.stdout) == (hard < WANTED)
