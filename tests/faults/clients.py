"""Honest clients: trackers that send the same ids until they are taken, and finance."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.faults.pace import Pace
from tests.faults.workload import INVOICE_DATE, PERIOD, Identity, Request, Workload, identity_of

PAUSE_SECONDS = 0.05
SLACK_SECONDS = 1.5  # one of the promise, and half a second of the way
PATIENCE_SECONDS = 20.0
TRY_AGAIN = (429, 503)


class Unlawful(AssertionError):
    """An answer that no service may give, or one that came too late."""


@dataclass
class Ledger:
    """What clients were promised: events acknowledged, and how the other answers came."""

    acknowledged: set[Identity] = field(default_factory=set)
    acknowledged_count: int = 0
    broken: int = 0
    refused: int = 0
    _waiting: list[tuple[int, asyncio.Event]] = field(default_factory=list)

    def acknowledge(self, request: Request) -> None:
        """Note that a request was taken as a whole."""
        self.acknowledged.update(map(identity_of, request))
        self.acknowledged_count += len(request)
        for count, event in self._waiting:
            if self.acknowledged_count >= count:
                event.set()

    async def until(self, count: int) -> None:
        """Wait until so many events, copies included, are acknowledged."""
        event = asyncio.Event()
        self._waiting.append((count, event))
        if self.acknowledged_count < count:
            await event.wait()


@dataclass
class Client:
    """One session of calls that go on until they are answered for good.

    `excused` says whether something stood in the way since some instant for which an answer may
    come late: a stopped process answers nobody.
    """

    session: aiohttp.ClientSession
    ledger: Ledger
    deadline_seconds: float
    excused: Callable[[float], bool]

    async def call(
        self, method: str, url: str, token: str, *, statuses: Iterable[int] = (200,), **more: Any
    ) -> Any:
        """Call until an answer is final. Raises `Unlawful`."""
        headers = {"Authorization": f"Bearer {token}"} | more.pop("headers", {})
        loop = asyncio.get_running_loop()
        while True:
            started, pace = loop.time(), Pace()
            try:
                async with self.session.request(method, url, headers=headers, **more) as answer:
                    told = await answer.json(content_type=None)
                    status = answer.status
            except (aiohttp.ClientError, OSError) as error:
                if isinstance(error, TimeoutError) and not self.excused(started):
                    raise Unlawful(f"{method} {url.partition('/v1')[2]}: no answer") from error
                self.ledger.broken += 1
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if status in statuses:
                return told
            if status not in TRY_AGAIN:
                raise Unlawful(f"{method} {url.partition('/v1')[2]}: {status} {told}")
            self._note_refusal(loop.time() - started, started, pace)
            await asyncio.sleep(PAUSE_SECONDS)

    def _note_refusal(self, seconds: float, started: float, pace: Pace) -> None:
        self.ledger.refused += 1
        if self.excused(started):
            return
        if pace.late(seconds, self.deadline_seconds) > SLACK_SECONDS:
            times = pace.times()
            raise Unlawful(f"a refusal came after {seconds:.1f} s, at {times:.1f} times the pace")


async def send(
    client: Client,
    url: str,
    tokens: Mapping[str, str],
    work: Workload,
    before_late: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Send the whole workload: every sender in its order, all of them side by side.

    `before_late` is awaited by the admin alone: what is told late then finds all others' work done.
    """
    for request in work.first:
        await _post(client, url, tokens["admin:agency"], request)
    late = {} if before_late is None else {s: r for s, r in work.senders.items() if _is_late(s)}
    async with asyncio.TaskGroup() as group:
        for sender, requests in work.senders.items():
            if sender not in late:
                group.create_task(_send_in_turn(client, url, _token(tokens, sender), requests))
    if before_late is not None:
        await before_late()
    for sender, requests in late.items():
        await _send_in_turn(client, url, _token(tokens, sender), requests)


def _is_late(sender: str) -> bool:
    return sender.startswith("admin:")


def _token(tokens: Mapping[str, str], sender: str) -> str:
    return tokens[sender.partition("/")[0]]


async def _send_in_turn(client: Client, url: str, token: str, requests: Iterable[Request]) -> None:
    for request in requests:
        await _post(client, url, token, request)


async def _post(client: Client, url: str, token: str, request: Request) -> None:
    told = await client.call(
        "POST", f"{url}/v1/events", token, statuses=(202,), data=b"\n".join(request),
        headers={"Content-Type": "application/x-ndjson"},
    )  # fmt: skip
    if told["rejected"]:
        raise Unlawful(f"a sound event was refused: {told}")
    client.ledger.acknowledge(request)


async def close_month(client: Client, url: str, token: str) -> str:
    """Run, approve and issue the month as finance does; return the run's id."""

    def command(path: str, body: Any = None) -> Awaitable[Any]:
        key = {"Idempotency-Key": secrets.token_hex(8)}
        statuses = (200, 202)
        return client.call("POST", url + path, token, json=body, headers=key, statuses=statuses)

    run_id: str = (await command("/v1/runs", {"period": PERIOD}))["run_id"]
    while (run := await client.call("GET", f"{url}/v1/runs/{run_id}", token))["state"] != "done":  # noqa: ASYNC110 (another process's state)
        await asyncio.sleep(PAUSE_SECONDS)
    for firm in run["firms"]:
        if firm["invoice_id"]:
            await command(f"/v1/invoices/{firm['invoice_id']}/approve")
    await command(f"/v1/runs/{run_id}/issue", {"invoice_date": INVOICE_DATE})
    return run_id
