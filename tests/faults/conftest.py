"""Servers that a test may break: of its own, beside the shared ones."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from services.kafka import ensure_topics
from services.machine.embedded_kafka import EmbeddedKafka
from services.machine.embedded_postgres import EmbeddedPostgres
from services.migrations import migrate
from services.settings import Settings
from tests import tally
from tests.servers import VARIABLE, kafka_in, postgres_in


def _folder() -> Iterator[Path]:
    """A folder that Postgres's user can reach; the run's sweep would stop what is left in it."""
    made = Path(tempfile.mkdtemp(prefix="own-", dir=os.environ[VARIABLE]))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


folder = pytest.fixture(_folder, name="folder")
server_folder = pytest.fixture(_folder, scope="module", name="server_folder")


@pytest.fixture
def own_kafka(folder: Path) -> Iterator[EmbeddedKafka]:
    """A broker that the test may kill."""
    kafka = kafka_in(folder / "kafka")
    kafka.start()
    yield kafka
    kafka.stop()


@pytest.fixture
def own_postgres(folder: Path, settings: Settings) -> Iterator[EmbeddedPostgres]:
    """A migrated Postgres that the test may stop; it flushes to disk as a real one does."""
    postgres = postgres_in(folder / "postgres")
    postgres.start()
    with psycopg.connect(postgres.url):
        migrate(settings.model_copy(update={"database_url": postgres.url}))
    yield postgres
    postgres.stop("immediate")


@pytest.fixture
async def tally_house(settings: Settings) -> AsyncIterator[tally.TallyHouse]:
    """The test house in a database of its own, with topics of its own, on the shared servers."""
    await ensure_topics(settings)
    async with tally.tally_house(settings) as house:
        yield house
