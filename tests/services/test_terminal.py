"""What a terminal shows that is narrow: ids and amounts whole, and no column less."""

import sys

import pytest
from rich.console import Group
from rich.padding import Padding
from rich.table import Table

from services.metrics.tables import scorecard_table
from services.tables import plain_table
from services.terminal import show

SPAN = {"firm_id": "firm-001", "from_date": "2026-07-06", "to_date": "2026-07-13"}
CARD = SPAN | {"week": "2026-W28", "timezone": "America/New_York", "failed_entities": 0,
               "data_as_of": {"instant": "2026-07-13T00:00:00Z"}}  # fmt: skip
COLUMNS = "invoice", "outcome", "total"


@pytest.fixture
def shown(monkeypatch, capsys):
    """Give the lines that are shown on a terminal of so many columns; None: to a file."""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("LINES", "25")

    def lines(item, columns, **more):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: columns is not None, raising=False)
        if columns is not None:
            monkeypatch.setenv("COLUMNS", str(columns))
        show({}, [item], as_json=False, **more)
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return lines


def invoices(outcome):
    table = plain_table(*COLUMNS, right=frozenset({"total"}))
    table.add_row("run-6a6d8bb17f0f3046.5fdc07e0fa7f", outcome, "4624.30 USD")
    return table


@pytest.mark.parametrize("wrap", [lambda table: table, Group, lambda table: Padding(table, 0)])
@pytest.mark.parametrize("columns", [30, 50, 60, None])
def test_ids_and_amounts_stay_whole(shown, columns, wrap):
    lines = shown(wrap(invoices("document, not kept: an approved one stands")), columns)
    assert lines[2].startswith("run-6a6d8bb17f0f3046.5fdc07e0fa7f ")
    assert lines[2].endswith(" 4624.30 USD")


def test_an_id_is_never_shortened(shown):
    table = Table("id", "scopes", box=None)
    table.add_row("VyZcTj3JcPvJkk0W", "bills:approve bills:issue bills:read bills:run metrics:read")
    lines = shown(table, 30, width=160)
    assert lines[1].startswith(" VyZcTj3JcPvJkk0W ")
    assert "\u2026" not in "".join(lines)


def test_words_are_folded_where_there_is_room_for_the_rest(shown):
    lines = shown(invoices("document, not kept: an approved one stands"), 60)
    assert max(map(len, lines)) <= 60
    assert len(lines) > 3


def test_what_no_width_would_hold_is_written_out_to_a_file_too(shown):
    table = plain_table(*COLUMNS, right=frozenset({"total"}))
    table.add_row("i" * 70, "o" * 70, "1.00 USD")
    assert shown(table, None)[2].split() == ["i" * 70, "o" * 70, "1.00", "USD"]


def figure(metric, clock=None, **more):
    none = {"value": None, "values": None, "n": 0, "interval": None, "share_zero": None}
    return none | {"metric": metric, "clock": clock, "excluded": {}, "group": {}} | more


def whole_firm():
    """What a firm did in one phase, as a scorecard tells it."""
    share = {"value": 0.77, "n": 26, "interval": [0.58, 0.89]}
    hours = figure("hours", value=3_862_800, n=1)
    return {
        "placement_id": None, "assistant_id": None, "phase": "active", "pooled": [],
        "figures": [
            figure("turnaround", "wall", value=7_560, n=128),
            figure("turnaround", "firm_business", value=7_560, n=128, share_zero=0.25),
            figure("first_pass_acceptance", **share),
            figure("review_coverage", **share),
            figure("escalation_rate", **share),
            figure("throughput", value=24, n=24),
            figure("open_overdue", value=0),
            hours,
        ],
        "hours_by_task_type": [
            hours | {"group": {"task_type": name}} for name in ("client_comms", "inbox_admin")
        ],
    }  # fmt: skip


@pytest.mark.parametrize("columns", [50, 80, 99])
def test_a_scorecard_loses_no_column(shown, columns):
    lines = shown(scorecard_table(CARD | {"firm": [whole_firm()], "placements": []}), columns)
    heads = [line.split()[-1] for line in lines if "placement  " in line or "hours by" in line]
    assert heads == ["hours", "inbox"]
    ends = [line.split()[-1] for line in lines if line.startswith("whole firm")]
    assert ends == ["1,073.0", "1,073.0"]
    assert "58\u201389 %, n 26" in "".join(lines)
