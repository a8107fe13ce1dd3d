"""The programs of `make bench`, at their smallest: they run, and what they count is right."""

from pathlib import Path

import pytest

from services.ports import choose_port
from tests.bench import ingest
from tests.bench.ground import Ground

PORTS = [
    f"{name}_{kind}" for name in ("ingest", "metrics", "billing") for kind in ("port", "ops_port")
]


@pytest.fixture
def ground(settings, tmp_path) -> Ground:
    chosen: dict[str, int] = {}
    for name in PORTS:
        chosen[name] = choose_port("127.0.0.1", 0, frozenset(chosen.values()))
    own = settings.model_copy(update={**chosen, "topic_partitions": 3})
    return Ground(own, tmp_path, rounds=1, quick=True, say=print, peers=Path("no-peers-here"))


def test_each_way_of_ingest_is_measured_and_every_confirmed_event_is_on_the_log(ground):
    figures = {(f.what, f.other) for f in ingest.run(ground) if f.ours > 0}
    assert figures >= {
        ("JSON ×100", "H: validate, commit"),
        ("NDJSON ×100", "H: validate, commit"),
        ("one event a POST", "empty POST"),
    }
    assert ground.absent == ["ingest's peers: they have no environment"]
