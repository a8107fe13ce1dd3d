"""What aiokafka's clients need when their broker is away: a pause, and a bounded stop."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata

STOP_SECONDS = 4.0
LAST_SECONDS = 1.0
PAUSE_SECONDS = 0.1


def calm(client: AIOKafkaClient) -> None:
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


async def stop_producer(producer: AIOKafkaProducer, seconds: float = STOP_SECONDS) -> None:
    """Stop a producer; one whose broker is away would wait for it, so its tasks are ended."""
    if await _done_within(producer.stop(), seconds):
        return
    await _end(producer._sender.sender_task)  # noqa: SLF001 (there is no public way)
    await _done_within(producer.client.close(), LAST_SECONDS)


async def stop_consumer(consumer: AIOKafkaConsumer, seconds: float = STOP_SECONDS) -> None:
    """Stop a consumer and leave its group; one whose broker is away has its tasks ended."""
    if await _done_within(consumer.stop(), seconds):
        return
    if (coordinator := consumer._coordinator) is not None:  # noqa: SLF001 (there is no public way)
        for name in ("_coordination_task", "_heartbeat_task", "_commit_refresh_task"):
            await _end(getattr(coordinator, name, None))
    if (fetcher := consumer._fetcher) is not None:  # noqa: SLF001 (likewise)
        await _end(fetcher._fetch_task)  # noqa: SLF001 (likewise)
    await _done_within(consumer._client.close(), LAST_SECONDS)  # noqa: SLF001 (likewise)


async def _done_within(work: Coroutine[Any, Any, Any], seconds: float) -> bool:
    """Say whether some work ended in time, well or not; else it is cancelled.

    `wait`, not `wait_for`: these raise CancelledError themselves, which must not look like ours.
    """
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        await _end(task)
        return False
    if not task.cancelled():
        task.exception()  # seen: whatever it is, we are leaving
    return True


async def _end(task: "asyncio.Task[Any] | None") -> None:
    if task is None or task.done():
        return
    task.cancel()
    await asyncio.wait({task}, timeout=LAST_SECONDS)
    if task.done() and not task.cancelled():
        task.exception()
