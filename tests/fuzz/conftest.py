"""What the door's tests share: the services as processes, their books filled, one set a worker."""

import os
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
    kafka = servers.addresses()["kafka"]
    of_the_run = os.environ[servers.VARIABLE]  # it goes with the run, however that ends
    with servers.fresh_database() as url, tempfile.TemporaryDirectory(dir=of_the_run) as home:
        settings = servers.settings_of(url, kafka, Path(home))
        with worlds.running(settings, Path(home)) as made:
            worlds.fill(made)
            yield made
