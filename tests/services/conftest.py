"""The test house on an installation of the test's own."""

from collections.abc import AsyncIterator

import pytest

from services.kafka import ensure_topics
from services.settings import Settings
from tests import tally


@pytest.fixture
async def tally_house(settings: Settings) -> AsyncIterator[tally.TallyHouse]:
    """The test house's table in a database of its own, and its topics."""
    await ensure_topics(settings)
    async with tally.tally_house(settings) as house:
        yield house
