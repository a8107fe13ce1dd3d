"""100,000 forged tokens: the long run of test_tokens.py."""

import asyncio

import pytest

from tests.fuzz.forgeries import try_all

PARTS, FORGERIES_PER_PART = range(1, 11), 10_000


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", PARTS)
def test_no_forgery_is_let_in(world, part, capsys):
    seen = asyncio.run(try_all(world, part, FORGERIES_PER_PART))
    assert seen.total() == FORGERIES_PER_PART
    with capsys.disabled():
        print(f"\npart {part}: {seen.total()} refused")  # noqa: T201 (for whoever waits)
