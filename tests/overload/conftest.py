"""Topics and a database for services as processes, and a look at the log behind them."""

import json

import pytest

from services.kafka import ensure_topics
from services.machine.embedded_postgres import EmbeddedPostgres
from services.settings import Settings
from tests.faults.conftest import folder, own_kafka, own_postgres
from tests.log import records

__all__ = ["folder", "own_kafka", "own_postgres"]


async def logged_ids(settings: Settings, topic: str = "time-events") -> list[str]:
    """Return the id of every event on a topic, copies included."""
    return [json.loads(one.value)["id"] for one in await records(settings, [topic])]


@pytest.fixture
async def here(settings: Settings) -> Settings:
    """Settings of an installation on the shared servers, its topics made."""
    await ensure_topics(settings)
    return settings


@pytest.fixture
async def breakable(here: Settings, own_postgres: EmbeddedPostgres) -> Settings:
    """Settings of one whose database the test may freeze."""
    return here.model_copy(update={"database_url": own_postgres.url})
