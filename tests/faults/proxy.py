"""A small TCP proxy between two parts: it can delay, fall silent, and cut what goes through it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

READ_BYTES = 65_536
LINGER_NONE = struct.pack("ii", 1, 0)

Weather = Literal["fair", "slow", "silent", "refusing"]


class Proxy:
    """Forwards connections to a port of this machine, as the weather lets it.

    fair      bytes go through
    slow      each piece waits `DELAY_SECONDS`
    silent    connections stay open and nothing comes through: what a dropped packet looks like
    refusing  every connection is reset, a new one at once
    """

    DELAY_SECONDS = 0.05

    def __init__(self, to_port: int) -> None:
        self.to_port = to_port
        self.port = 0
        self._fair = asyncio.Event()
        self._fair.set()
        self._weather: Weather = "fair"
        self.held = 0  # pieces that wait for the silence to end
        self.silenced_by: bytes | None = None  # words of a piece with which the silence begins
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def weather(self) -> Weather:
        """What it does now."""
        return self._weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._weather = weather
        if weather == "silent":
            self._fair.clear()
        else:
            self._fair.set()
        if weather == "refusing":
            self.reset()

    def reset(self) -> None:
        """Cut every connection with a reset: what was under way is lost."""
        for writer in list(self._writers):
            _cut(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either end is gone."""
        if self._weather == "refusing":
            _cut(writer)
            return
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.to_port)
        except OSError:
            self._writers.discard(writer)
            _cut(writer)
            return
        self._writers.add(back)
        carrying = [
            asyncio.create_task(self._carry(reader, back)),
            asyncio.create_task(self._carry(there, writer)),
        ]
        try:
            await asyncio.wait(carrying, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in carrying:
                task.cancel()
            await asyncio.gather(*carrying, return_exceptions=True)
            for end in (writer, back):
                self._writers.discard(end)
                end.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(READ_BYTES):
            if self._weather == "slow":
                await asyncio.sleep(self.DELAY_SECONDS)
            if self.silenced_by is not None and self.silenced_by in piece:
                self.silenced_by, self.weather = None, "silent"
            self.held += 1
            await self._fair.wait()
            self.held -= 1
            writer.write(piece)
            await writer.drain()


def _cut(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of a farewell."""
    found = writer.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
    writer.transport.abort()


@asynccontextmanager
async def proxy(to_port: int, port: int = 0) -> AsyncIterator[Proxy]:
    """Run a proxy to a port of this machine for the length of a block."""
    made = Proxy(to_port)
    server = await asyncio.start_server(made.serve, "127.0.0.1", port)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.reset()
