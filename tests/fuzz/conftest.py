"""What the door's tests share: the services as processes, their books filled, one set a worker."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.fuzz import world as worlds
from tests.fuzz.world import World


@pytest.fixture(scope="package")
def world() -> Iterator[World]:
    """The three services and a filled world, for all tests of this folder."""
    with servers.fresh_database() as url, tempfile.TemporaryDirectory() as home:
        settings = servers.settings_of(url, servers.addresses()["kafka"], Path(home))
        with worlds.running(settings, Path(home)) as made:
            worlds.fill(made)
            yield made
