"""A Postgres and a Kafka that a schedule may break, with a proxy before every service's door."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.machine.embedded_kafka import EmbeddedKafka
from services.machine.embedded_postgres import EmbeddedPostgres
from tests.faults.proxy import Proxy, proxy
from tests.faults.world import Servers
from tests.servers import (
    SESSION_MILLISECONDS,
    TEMPLATE,
    own_port,
    postgres_in,
    start_postgres,
)

HOUSES = ("ingest", "metrics", "billing")


def _listeners(
    port: int, controller: int, own: Mapping[str, int], proxies: Mapping[str, int]
) -> Mapping[str, str]:
    """Give each house a listener of its own that names the house's proxy.

    Clients go where the broker's metadata send them, so a proxy before one door would be passed by.
    """
    here = "127.0.0.1"
    names = {house: house.upper() for house in HOUSES}
    plain = f"PLAINTEXT://{here}:{port}"
    return {
        "listeners": ",".join(
            [plain, f"CONTROLLER://{here}:{controller}"]
            + [f"{names[house]}://{here}:{own[house]}" for house in HOUSES]
        ),
        "advertised.listeners": ",".join(
            [plain] + [f"{names[house]}://{here}:{proxies[house]}" for house in HOUSES]
        ),
        "listener.security.protocol.map": ",".join(
            f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", *names.values())
        ),
        "inter.broker.listener.name": "PLAINTEXT",
    }


@dataclass(frozen=True)
class Pair:
    """Two servers to be broken, and the proxies by (who calls, whom).

    That from clients to ingest leads to the port of whichever world is played.
    """

    postgres: EmbeddedPostgres
    kafka: EmbeddedKafka
    proxies: dict[tuple[str, str], Proxy]
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # one thing at a time befalls a server

    @property
    def servers(self) -> Servers:
        """Where a world finds them."""
        return Servers(
            self.postgres.url,
            self.kafka.bootstrap_servers,
            TEMPLATE,
            {h: f"127.0.0.1:{self.proxies[h, 'kafka'].port}" for h in HOUSES},
            {h: self.proxies[h, "postgres"].port for h in HOUSES},
        )

    async def restart(
        self, server: str, how: str, down_seconds: float, begun: asyncio.Event | None = None
    ) -> None:
        """End a server without a word, and start it again after a while.

        `begun` is set once nothing that is sent to it has an effect any more. A server to `lose`
        stands still first: it is killed with all in its hands that was sent to it in that while.
        """
        sign = signal.SIGTERM if how == "restart" else signal.SIGKILL
        begun = begun or asyncio.Event()
        async with self.turn:
            if server == "postgres":
                await asyncio.to_thread(self.postgres.stop, "immediate")
                begun.set()
                await asyncio.sleep(down_seconds)
                await asyncio.to_thread(self.postgres.start)
            else:
                if how == "lose":
                    broker = self.kafka.process()
                    assert broker is not None
                    broker.suspend()
                    begun.set()
                    await asyncio.sleep(down_seconds)
                await asyncio.to_thread(self.kafka.stop, sign)
                begun.set()
                await asyncio.sleep(down_seconds if how != "lose" else 0)
                await asyncio.to_thread(self.kafka.start)

    async def heal(self) -> None:
        """Have both servers run and all links fair, whatever has been done."""
        for link in self.proxies.values():
            link.weather = "fair"
        if self.postgres.pid() is None:
            await asyncio.to_thread(self.postgres.start)
        if self.kafka.process() is None:
            await asyncio.to_thread(self.kafka.start)

    async def freeze(self, seconds: float) -> None:
        """Let the broker stand still for a while."""
        async with self.turn:
            broker = self.kafka.process()
            assert broker is not None
            broker.suspend()
            try:
                await asyncio.sleep(seconds)
            finally:
                broker.resume()


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[Pair]:
    """Run a pair for the length of a block."""
    async with AsyncExitStack() as stack:
        postgres = postgres_in(folder / "postgres")
        ports = [own_port() for _ in range(2 + len(HOUSES))]
        listeners = dict(zip(HOUSES, ports[2:], strict=True))
        proxies = {
            (house, server): await stack.enter_async_context(proxy(port))
            for house in HOUSES
            for server, port in (("kafka", listeners[house]), ("postgres", postgres.port))
        }
        there = {house: proxies[house, "kafka"].port for house in HOUSES}
        proxies["clients", "ingest"] = await stack.enter_async_context(proxy(0))
        kafka = EmbeddedKafka(
            (folder / "kafka").absolute(), ports[0], ports[1], SESSION_MILLISECONDS,
            properties=_listeners(ports[0], ports[1], listeners, there),
        )  # fmt: skip
        stack.push_async_callback(asyncio.to_thread, shutil.rmtree, folder, ignore_errors=True)
        stack.push_async_callback(asyncio.to_thread, kafka.stop)
        stack.push_async_callback(asyncio.to_thread, postgres.stop, "immediate")
        await asyncio.gather(
            asyncio.to_thread(kafka.start), asyncio.to_thread(start_postgres, postgres)
        )
        yield Pair(postgres, kafka, proxies)
