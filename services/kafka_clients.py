"""How every client of ours reaches Kafka, and what it needs when its broker is away."""

import asyncio
import random
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from functools import cache
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection, CloseReason, collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.api import Request
from aiokafka.protocol.metadata import MetadataRequest

from services.settings import Settings, environment_name

STOP_SECONDS = 4.0
LAST_SECONDS = 1.0
PAUSE_SECONDS = 0.1
ASK_MILLISECONDS = 2_000
CONNECT_SECONDS = 5.0  # to be taken, and told what a node can do


def access(settings: Settings) -> dict[str, Any]:
    """Say where Kafka is, how it is spoken to and as whom: the arguments of any client."""
    protocol = settings.kafka_security_protocol
    found: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "security_protocol": protocol,
    }
    if protocol.startswith("SASL"):
        found["sasl_mechanism"] = settings.kafka_sasl_mechanism
        found["sasl_plain_username"] = settings.kafka_sasl_username
        found["sasl_plain_password"] = settings.kafka_sasl_password.get_secret_value()
    if protocol.endswith("SSL"):
        found["ssl_context"] = _trusting(settings.kafka_ca_file)
    return found


@cache
def _trusting(ca_file: str) -> ssl.SSLContext:
    """Trust who a file vouches for, or the system's list; read once, clients are made often."""
    return ssl.create_default_context(cafile=ca_file or None)


class Obstacle(NamedTuple):
    """What stands between us and Kafka, and what to do about it."""

    state: str
    mend: str

    def __str__(self) -> str:
        return f"{self.state}: {self.mend}"


async def find_obstacle(settings: Settings) -> Obstacle:
    """Ask the first server once more and say what stands in the way.

    A client that could not start says no more than "unable to bootstrap", whatever it was.
    """
    at = f"Kafka at {settings.kafka_bootstrap_servers}"
    try:
        await _ask_first_server(access(settings))
    except (SaslAuthenticationFailed, AuthenticationFailedError):
        user = settings.kafka_sasl_username
        return Obstacle(
            f"{at} refuses the user {user}", _check("kafka_sasl_username", "kafka_sasl_password")
        )
    except UnsupportedSaslMechanismError:
        mechanism = settings.kafka_sasl_mechanism
        return Obstacle(f"{at} does not take {mechanism}", _check("kafka_sasl_mechanism"))
    except ssl.SSLCertVerificationError:
        return Obstacle(f"{at} has a certificate that is not trusted", _check("kafka_ca_file"))
    except (KafkaError, ssl.SSLError, ConnectionResetError):  # it is there, and hangs up
        protocol = settings.kafka_security_protocol
        return Obstacle(f"{at} does not speak {protocol}", _check("kafka_security_protocol"))
    except (OSError, TimeoutError):
        mend = f"run `turnsheet up`, or {_check('kafka_bootstrap_servers')}"
        return Obstacle(f"{at} does not answer", mend)
    return Obstacle(f"{at} answers again", "try once more")


async def _ask_first_server(arguments: dict[str, Any]) -> None:
    """Connect and ask for nothing; raises whatever the client does.

    A connection takes leave of an encrypted server before it is gone: that is waited for, so that
    none outlives the loop of a command.
    """
    host, port, _ = collect_hosts(arguments.pop("bootstrap_servers"), randomize=False)[0]
    closing: list[AIOKafkaConnection] = []
    arguments["on_close"] = lambda conn, _reason: closing.append(conn)
    try:
        conn = await create_conn(host, port, request_timeout_ms=ASK_MILLISECONDS, **arguments)
        try:
            await conn.send(MetadataRequest([]))
        finally:
            conn.close()
    finally:
        if closing:
            await asyncio.wait([conn.close() for conn in closing], timeout=LAST_SECONDS)


def _check(*fields: str) -> str:
    return "check " + " and ".join(environment_name(field) for field in fields)


def harden(client: AIOKafkaClient) -> None:
    """Give a client that lives long what it needs to outlive any broker."""
    _calm(client)
    _end_late(client)


def _calm(client: AIOKafkaClient) -> None:
    """Make a client wait a moment after it could not learn where the partitions are.

    Without it, sends and fetches that wait while the broker is down ask again at once, for ever:
    a busy processor and thousands of lines in the log a second.
    """
    update = client._metadata_update  # noqa: SLF001 (there is no public way)

    async def update_calmly(cluster: ClusterMetadata, topics: set[str]) -> bool:
        updated: bool = await update(cluster, topics)
        if not updated:
            await asyncio.sleep(PAUSE_SECONDS)
        return updated

    client._metadata_update = update_calmly  # noqa: SLF001 (likewise)


def _end_late(client: AIOKafkaClient) -> None:
    """Have a request end as late too where another has found its connection gone meanwhile.

    The client looks that connection up to close it, and the KeyError would end the routine that
    asked, for good: fetches, say. Seen where a process stood still while its broker was killed.
    """
    send = client.send

    async def send_or_be_late(
        node: int, request: Request[Any], *, group: int = ConnectionGroup.DEFAULT
    ) -> Any:
        try:
            return await send(node, request, group=group)
        except KeyError as error:
            raise RequestTimedOutError from error

    client.send = send_or_be_late


def avoid_silent(client: AIOKafkaClient) -> None:
    """Have a client leave a node alone for as long as it kept it waiting, if there are others.

    A node that stands still takes connections and answers nothing. The client asks whom it meets by
    chance, and connects to one node at a time: without this it waits there again and again, each
    time for as long as a request may take, and connects to nobody else meanwhile.
    """
    cluster, connect, choose = client.cluster, client._get_conn, client.get_random_node  # noqa: SLF001 (there is no public way)
    request_seconds = client._request_timeout_ms / 1000  # noqa: SLF001 (likewise)
    connecting: defaultdict[tuple[int | str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
    silent_until: dict[tuple[str, int], float] = {}

    def is_silent(node: int | str) -> bool:
        broker = cluster.broker_metadata(node)
        until = 0.0 if broker is None else silent_until.get((broker.host, broker.port), 0.0)
        return until > time.monotonic()

    def speaking() -> list[int]:
        return [broker.nodeId for broker in cluster.brokers() if not is_silent(broker.nodeId)]

    async def connect_to_speaking(
        node: int | str, *, group: int = ConnectionGroup.DEFAULT, **how: Any
    ) -> AIOKafkaConnection | None:
        async with connecting[node, group]:
            if is_silent(node) and speaking():
                return None
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    conn: AIOKafkaConnection | None = await connect(node, group=group, **how)
            except TimeoutError:
                if broker := cluster.broker_metadata(node):
                    silent_until[broker.host, broker.port] = time.monotonic() + CONNECT_SECONDS
                client.force_metadata_update()  # as the client does where it is refused
                return None
            return conn

    def choose_speaking() -> int | None:
        found = speaking()
        return random.choice(found) if found else choose()  # noqa: S311 (nothing is kept from anyone)

    def note_silence(conn: AIOKafkaConnection, reason: CloseReason) -> None:
        if reason is CloseReason.CONNECTION_TIMEOUT:
            silent_until[conn.host, conn.port] = time.monotonic() + request_seconds

    client._get_conn_lock_value = nullcontext()  # noqa: SLF001 (a lock for each node takes its place)
    client._get_conn, client.get_random_node = connect_to_speaking, choose_speaking  # noqa: SLF001 (likewise)
    _after_closing(client, note_silence)


def tell_disconnected(client: AIOKafkaClient, tell: Callable[[AIOKafkaConnection], None]) -> None:
    """Have a client tell of each connection that a broker or a timeout has ended."""

    def tell_lost(conn: AIOKafkaConnection, reason: CloseReason) -> None:
        if reason not in {CloseReason.IDLE_DROP, CloseReason.SHUTDOWN}:
            tell(conn)

    _after_closing(client, tell_lost)


def _after_closing(
    client: AIOKafkaClient, tell: Callable[[AIOKafkaConnection, CloseReason], None]
) -> None:
    closed = client._on_connection_closed  # noqa: SLF001 (there is no public way)

    def closed_and_told(conn: AIOKafkaConnection, reason: CloseReason) -> None:
        closed(conn, reason)
        tell(conn, reason)

    client._on_connection_closed = closed_and_told  # noqa: SLF001 (likewise)


def has_left(consumer: AIOKafkaConsumer) -> bool:
    """Say whether a client has given its group up for good: then each of its polls fails.

    Whatever it does not expect ends the routine that keeps it in the group, and nothing begins that
    again. Seen where a broker that had just started named no broker at all.
    """
    coordinator = consumer._coordinator  # noqa: SLF001 (there is no public way)
    return coordinator is not None and coordinator._coordination_task.done()  # noqa: SLF001 (likewise)


async def stop_producer(producer: AIOKafkaProducer, seconds: float = STOP_SECONDS) -> None:
    """Stop a producer; one whose broker is away would wait for it, so its tasks are ended."""
    if await _done_well(producer.stop(), seconds):
        return
    await _end(producer._sender.sender_task)  # noqa: SLF001 (there is no public way)
    await _done_well(producer.client.close(), LAST_SECONDS)


async def stop_consumer(consumer: AIOKafkaConsumer, seconds: float = STOP_SECONDS) -> None:
    """Stop a consumer and leave its group; one whose broker is away has its tasks ended.

    So has one whose fetches have failed: it would end with their error, its connections open.
    """
    if await _done_well(consumer.stop(), seconds):
        return
    if (coordinator := consumer._coordinator) is not None:  # noqa: SLF001 (there is no public way)
        for name in ("_coordination_task", "_heartbeat_task", "_commit_refresh_task"):
            await _end(getattr(coordinator, name, None))
    if (fetcher := consumer._fetcher) is not None:  # noqa: SLF001 (likewise)
        await _end(fetcher._fetch_task)  # noqa: SLF001 (likewise)
    await _done_well(consumer._client.close(), LAST_SECONDS)  # noqa: SLF001 (likewise)


async def _done_well(work: Coroutine[Any, Any, Any], seconds: float) -> bool:
    """Say whether some work ended in time and well; what takes longer is cancelled.

    `wait`, not `wait_for`: these raise CancelledError themselves, which must not look like ours.
    """
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        await _end(task)
        return False
    return not task.cancelled() and task.exception() is None  # seen: whatever it is, we are leaving


async def _end(task: "asyncio.Task[Any] | None") -> None:
    if task is None or task.done():
        return
    task.cancel()
    await asyncio.wait({task}, timeout=LAST_SECONDS)
    if task.done() and not task.cancelled():
        task.exception()
