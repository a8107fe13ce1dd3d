"""Real servers for tests that ask: a database cloned from a template, topics of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from services.machine.jars import JarsUnavailable, ensure_jars, missing_jars
from services.settings import Settings
from tests import servers
from tests.servers import addresses

hypothesis_settings.register_profile(
    "shared-cores", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("shared-cores")
WAITING = (
    ("tests/faults/",),
    ("tests/overload/", "tests/services/machine/", "tests/journeys/", "tests/races/"),
)
_FOLDER = pytest.StashKey[Path]()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Prepare for servers in the one process that is not a worker; a test in need starts them."""
    config = session.config
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    if missing := len(missing_jars()):
        terminal = config.get_terminal_writer()
        try:
            ensure_jars(lambda done, _: terminal.write(f"\rKafka's jars: {done} of {missing}"))
        except JarsUnavailable as error:
            pytest.exit(str(error), returncode=1)
        terminal.line("; later runs need no registry")
    config.stash[_FOLDER] = servers.prepare()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have workers begin with the rooms whose tests wait long: at the end all others would idle."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    slow = [[item for item in items if item.nodeid.startswith(rooms)] for rooms in WAITING]
    others = [item for item in items if not item.nodeid.startswith(sum(WAITING, ()))]
    ordered: list[pytest.Item] = []
    for number in range(workers):  # the first gets the first part of what is left, and so on
        first = [item for group in slow[number::workers] for item in group]
        size = (len(items) - len(ordered)) // (workers - number)
        taken = max(0, size - len(first))
        ordered += first + others[:taken]
        others = others[taken:]
    items[:] = ordered


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop whatever the run has started."""
    if (folder := config.stash.get(_FOLDER, None)) is not None:
        servers.stop(folder)


@pytest.fixture
def kafka_bootstrap() -> str:
    """The address of the run's Kafka."""
    return addresses()["kafka"]


@pytest.fixture
def database_url() -> Iterator[str]:
    """A migrated database of the test's own, as its owner."""
    with servers.fresh_database() as url:
        yield url


@pytest.fixture
def settings(database_url: str, kafka_bootstrap: str, tmp_path: Path) -> Settings:
    """Settings of an installation of the test's own: its database, topic prefix and ports."""
    return servers.settings_of(database_url, kafka_bootstrap, tmp_path / "home")
