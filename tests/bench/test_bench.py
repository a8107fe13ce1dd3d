"""The programs of `make bench`, at their smallest: they run, and what they count is right."""

from pathlib import Path

import pytest

from tests.bench import ingest, latency, month, reads, sink
from tests.bench.ground import Ground
from tests.servers import with_ports


@pytest.fixture
def ground(settings, tmp_path) -> Ground:
    own = with_ports(settings).model_copy(update={"topic_partitions": 3})
    return Ground(own, tmp_path, rounds=1, quick=True, say=print, peers=Path("no-peers-here"))


def test_each_way_of_ingest_is_measured_and_every_confirmed_event_is_on_the_log(ground):
    figures = {(f.what, f.other) for f in ingest.run(ground) if f.ours > 0}
    assert figures >= {
        ("JSON ×100", "H: validate, commit"),
        ("NDJSON ×100", "H: validate, commit"),
        ("one event a POST", "empty POST"),
    }
    assert ground.absent == ["ingest's peers: they have no environment"]


def test_the_consumer_and_each_part_of_it_are_measured_over_the_same_events(ground):
    figures = {f.what: f for f in sink.run(ground)}
    assert {"facts from Kafka", "the whole consumer of metrics", "group commit"} <= figures.keys()
    assert {"insert of 1,000 facts", "insert of 5,000 facts"} <= figures.keys()
    assert all(figure.ours > 0 for figure in figures.values())


def test_a_month_run_is_measured_from_dry_run_to_rendered_invoice(ground):
    figures = {f.what: f for f in month.run(ground)}
    assert "issue of 3 invoices" in figures
    assert figures["drafts, four workers"].other.startswith("sum(seconds) of 1,")
    assert figures.keys() >= {"dry run", "drafts, one worker", "re-run with nothing new"}
    assert "re-run of 1 firms with 6 late entries" in figures
    assert {f.met for f in figures.values()} == {None}, "these are no million of segments"


def test_each_kind_of_read_and_the_way_to_it_are_measured(ground):
    assert len([f for f in reads.run(ground) if f.ours > 0]) == 5
    seen = {f.what: f.ours for f in latency.run(ground)}
    for share in ("50%", "80%"):
        row, rest = (
            seen[f"POST to {what} at {share} of capacity, p50"]
            for what in ("row", "visible in REST")
        )
        assert 0 < row < rest
