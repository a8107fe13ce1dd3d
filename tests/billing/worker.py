"""A run worker as a program of its own, so that a test may kill it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.billing.jobs import work
from services.settings import Settings

ROOT = Path(__file__).parent.parent.parent
VARIABLE = "RUN_WORKER"  # how the program hears where its servers are


@contextmanager
def worker(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker for the length of a block, unless the block kills it first."""
    known = {
        "database_url": settings.database_url,
        "kafka_bootstrap_servers": settings.kafka_bootstrap_servers,
        "database_role_password": settings.database_role_password.get_secret_value(),
        "topic_prefix": settings.topic_prefix,
    }
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.billing.worker"],
        env={**os.environ, VARIABLE: json.dumps(known)}, cwd=ROOT,
    )  # fmt: skip
    try:
        yield running
    finally:
        running.kill()
        running.wait(10)


if __name__ == "__main__":
    asyncio.run(work(Settings(**json.loads(os.environ[VARIABLE])), asyncio.Event()))
