"""Sending a simulated month as its senders would: NDJSON over HTTP, several senders at once."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from services.demo.workload import Sent, by_principal
from services.demo.world import World
from services.machine.operator_tokens import Operator
from services.postgres import connect
from services.refusals import Refused
from services.settings import Settings
from services.web.auth import NewToken, create_token

BATCH_EVENTS = 500
SENDERS_AT_ONCE = 6
TRIES = 20
RETRY_SECONDS = 0.5
VALID_DAYS = 30


class NotDelivered(Refused):
    """Ingest did not take what was sent; the message says what it answered."""


async def make_tokens(settings: Settings, world: World) -> dict[str, str]:
    """Make a token for each sender, bound to what it may say; return them by principal.

    All may import: the simulated month may lie further back than a tracker's events may.
    """
    now = datetime.now(UTC)
    until = now + timedelta(days=VALID_DAYS)
    wanted = [
        NewToken(f.principal, "firm", until, ["events:write", "import"], [f.firm_id], ["*"],
                 [f"desk/{f.firm_id}"], "demo")
        for f in world.firms
    ] + [
        NewToken(p.principal, "tracker", until, ["events:write", "import"], [p.firm.firm_id],
                 [p.placement_id], [p.source], "demo")
        for p in world.placements
    ]  # fmt: skip
    conn = await connect(settings, "identity", "writer")
    try:
        return {
            new.principal_id: await create_token(
                conn, settings.token_pepper, new, actor=Operator(), now=now
            )
            for new in wanted
        }
    finally:
        await conn.close()


async def deliver(settings: Settings, events: Sequence[Sent], tokens: Mapping[str, str]) -> int:
    """Send events, each sender's in their order, and return how many were taken.

    Raises `NotDelivered` when one is refused, or ingest does not answer in the end.
    """
    limit = asyncio.Semaphore(SENDERS_AT_ONCE)
    async with aiohttp.ClientSession() as session:

        async def send_all(token: str, sent: Sequence[Sent]) -> int:
            async with limit:
                url = f"{settings.url('ingest')}/v1/events"
                return sum([await _post(session, url, token, part) for part in _parts(sent)])

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(send_all(tokens[principal], sent))
                for principal, sent in by_principal(events)
            ]
    return sum(task.result() for task in tasks)


def _parts(sent: Sequence[Sent]) -> list[Sequence[Sent]]:
    return [sent[start : start + BATCH_EVENTS] for start in range(0, len(sent), BATCH_EVENTS)]


async def _post(session: aiohttp.ClientSession, url: str, token: str, part: Sequence[Sent]) -> int:
    """Post one batch; an unknown outcome is sent again with the same ids."""
    body = b"\n".join(sent.body for sent in part)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
    for _ in range(TRIES):
        try:
            async with session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                told: dict[str, Any] = await answer.json(content_type=None)
                if answer.status == 202 and told["rejected"] == 0:
                    return int(told["accepted"])
                if answer.status not in {429, 503}:
                    raise NotDelivered(_first_refusal(told))
        except aiohttp.ClientError:
            pass  # the outcome is unknown: the same ids go again
        await asyncio.sleep(RETRY_SECONDS)
    raise NotDelivered("ingest did not take a batch in the end: see its log")


def _first_refusal(told: Mapping[str, Any]) -> str:
    for result in (*told.get("results", ()), *told.get("errors", ())):
        if result.get("code"):
            return f"ingest refused an event: {result['code']} {result.get('pointer') or ''}"
    return f"ingest refused: {told.get('title', 'no reason given')}"
