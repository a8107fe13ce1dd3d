"""Delivery: posts bodies until they are answered, however long the service is away."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import aiohttp

from services.ingest.batches import LINES
from services.ingest.sendings import Sending, cut_lines

REQUEST_SECONDS: Final = 30.0  # longer than any answer of the service takes
PATIENCE_SECONDS: Final = 120.0
PAUSE_SECONDS_MAX: Final = 5.0


class Undelivered(Exception):
    """The service could not be reached, or would not take the request at all."""


async def deliver(
    http: aiohttp.ClientSession,
    url: str,
    body: bytes,
    media: str,
    *,
    has: str,
    patience_seconds: float = PATIENCE_SECONDS,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[int, Any]:
    """Post a body until it has an answer of its own, and return that with its status.

    Overload, an unknown outcome and a lost connection are tried again with the same bytes: that is
    always safe, and `tell` hears of the first time. Raises Undelivered when patience ends, and at
    once for an address that can never work, or an answer that is not ingest's: when all went well
    that has the member `has`.
    """
    give_up_at = time.monotonic() + patience_seconds
    pause, told = 0.2, False
    while True:
        try:
            # No service of ours redirects, and what was sent would go along.
            async with http.post(
                url, data=body, headers={"Content-Type": media}, allow_redirects=False
            ) as response:
                if response.status not in {429, 502, 503, 504}:
                    return response.status, await _read(response, url, has)
                reason = f"status {response.status}"
                after = response.headers.get("Retry-After", "")
                pause = float(after) if after.isdigit() else pause
        except (aiohttp.InvalidURL, aiohttp.ClientSSLError) as error:
            raise Undelivered(f"{url} cannot be called: {error}") from None
        except aiohttp.ClientResponseError:
            raise _stranger(url, "it speaks no HTTP") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = type(error).__name__
        pause = min(pause, PAUSE_SECONDS_MAX)
        if time.monotonic() + pause > give_up_at:
            raise Undelivered(f"no answer from {url} after {patience_seconds:.0f} s ({reason})")
        if not told:
            tell(f"no answer from {url} ({reason}): trying again for {patience_seconds:.0f} s")
            told = True
        await asyncio.sleep(pause)
        pause *= 2


async def _read(response: aiohttp.ClientResponse, url: str, has: str) -> dict[str, Any]:
    """Read what ingest took, or a problem. Raises Undelivered for what is neither."""
    try:
        answer = await response.json(content_type=None)
    except ValueError:
        answer = None
    needed = has if response.status < 300 else "title"
    if not isinstance(answer, dict) or needed not in answer:
        raise _stranger(url, f"it answers {response.status} without {needed}")
    return answer


def _stranger(url: str, why: str) -> Undelivered:
    return Undelivered(f"what answers at {url} is not ingest: {why}")


def open_session(token: str) -> aiohttp.ClientSession:
    """Open a session that speaks with a token, straight to the service and by no proxy."""
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {token}"},
        timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
    )


async def send_lines(
    url: str,
    token: str,
    lines: Iterable[bytes],
    sending: Sending,
    note: Callable[[int], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Send lines of events in batches, in their order; `sending` is told what became of them.

    `note` hears the bytes of each batch, `tell` hears in words of one that has to be sent again.

    Raises Undelivered, with the line from which nothing is known to have arrived.
    """
    async with open_session(token) as http:
        for batch in cut_lines(lines):
            if batch.numbers:
                try:
                    status, answer = await deliver(
                        http, f"{url}/v1/events", batch.body, LINES, has="results", tell=tell
                    )
                except Undelivered as error:
                    raise Undelivered(f"line {batch.numbers[0]} and later: {error}") from None
                if not sending.take(batch, status, answer):
                    hint = ": see `turnsheet token create`" if status in {401, 403} else ""
                    raise Undelivered(
                        f"line {batch.numbers[0]} and later: "
                        f"{status} {answer.get('title', '')}{hint}"
                    )
            sending.refuse_locally(batch)
            note(batch.size_bytes)
