"""A thousand issues at once, some rolled back: no number twice, none left out, one chain."""

import pytest

from tests.races.issuing import race


@pytest.mark.parametrize("workers", [2, 4, 8])
async def test_issuing_at_once_leaves_no_gap_and_no_double(settings, workers):
    await race(settings, 334, workers, seed=workers)
