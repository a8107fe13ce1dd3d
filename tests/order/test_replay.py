"""The same facts by any number of partitions and workers, and through rebuilds: equal bytes."""

from datetime import date

import pytest

from tests.order.replaying import Plan, Way, chunks, narrator, plan, replay

WAYS = (Way(1, 1), Way(8, 4), Way(2, 2, rebuilds=4))


@pytest.fixture(scope="module")
def planned() -> Plan:
    return plan(firms=2, months=2, seed=7, first_day=date(2026, 3, 1), days=7)


@pytest.mark.parametrize("way", WAYS)
def test_the_directory_comes_after_all_work_where_there_is_one_partition_else_before_it(
    planned, way
):
    cut = chunks(planned, 0, way)
    is_directory = [topic == "directory" for topic, _ in cut]
    assert is_directory == sorted(is_directory, reverse=way.partitions != 1)
    assert set(is_directory) == {False, True}
    sent = sum(len(records) for _, records in cut)
    assert sent == len(planned.parts[0]) + len(planned.directory)


@pytest.mark.timeout(400)  # 14 processes come and go: a busy machine takes its time
async def test_partitions_workers_and_rebuilds_change_neither_figures_nor_invoices(
    planned, tmp_path
):
    say = narrator(print)
    found = {way: await replay(planned, way, tmp_path / "home", say) for way in WAYS}
    assert len(set(found.values())) == 1, found
    assert found[WAYS[0]].invoice_count == 4
    assert planned.event_count > 1500
