"""Any order, any doubling and any split of a thousand histories folds to equal states."""

from collections import Counter
from random import Random

import pytest

from tests.order.folds import broken, fold_batches, history

HISTORIES = 1000
BLOCK = 250
LOOKED_AT = 200


@pytest.mark.parametrize("first", range(0, HISTORIES, BLOCK))
def test_any_order_doubling_and_split_of_a_history_gives_equal_states(first):
    found = [told for seed in range(first, first + BLOCK) if (told := broken(seed)) is not None]
    assert found == []


def test_the_histories_are_lively():
    kinds: Counter[str] = Counter()
    for seed in range(LOOKED_AT):
        states = fold_batches([history(Random(seed))])
        kinds.update(key.kind for key, state in states.items() if state not in (None, (None, None)))
    assert all(kinds[kind] > 40 for kind in ("firm", "placement", "assistant", "escalation"))
    assert min(kinds["entry"], kinds["task"]) > 160
