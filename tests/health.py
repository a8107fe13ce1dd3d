"""What a service says of its own health."""

import asyncio

from aiohttp import ClientSession


async def health(
    http: ClientSession, ops_url: str, seconds: float = 30
) -> tuple[int, dict[str, str]]:
    """Ask until the reader of the log has made up its mind: the status, and what is not ready."""
    async with asyncio.timeout(seconds):
        while True:
            async with http.get(f"{ops_url.rstrip('/')}/readyz") as answer:
                checks = (await answer.json())["checks"]
            reasons = {name: c["reason"] for name, c in checks.items() if not c["ready"]}
            if reasons != {"log": "the log is not reached"}:
                return answer.status, reasons
            await asyncio.sleep(0.05)
