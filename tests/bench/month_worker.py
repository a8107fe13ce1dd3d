"""One more worker of month runs: its settings come on its input, so that no secret is seen."""

import asyncio
import gc
import json
import sys

from services.billing.jobs import work
from services.settings import Settings


async def _work(settings: Settings) -> None:
    print("working", flush=True)
    await work(settings, asyncio.Event())


if __name__ == "__main__":
    told = json.loads(sys.stdin.readline())
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    asyncio.run(_work(Settings(**told)))
