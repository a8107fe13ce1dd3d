"""Real servers for tests that ask: a database cloned from a template, topics of its own."""

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
