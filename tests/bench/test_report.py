"""What a run says and judges."""

import pytest

from tests.bench.load import check_answers
from tests.bench.report import Figure, cells, turned


def test_a_goal_of_a_larger_run_is_told_in_brackets_and_not_judged():
    figure = Figure("reads", "p95", "ms", 5, goal=20, sense="at most", meant="10 million events")
    assert figure.met is None
    assert cells(figure)[-2:] == ("(≤ 20 at 10 million events)", "")


def test_each_round_another_contender_goes_first():
    assert ["".join(turned("abc", number)) for number in range(4)] == ["abc", "bca", "cab", "abc"]


def test_one_refused_request_ends_a_run():
    check_answers({"statuses": {"202": 4}, "refused": ""}, 202, "load")
    with pytest.raises(RuntimeError, match=r"load: .*503.* busy"):
        check_answers({"statuses": {"202": 3, "503": 1}, "refused": "busy"}, 202, "load")
