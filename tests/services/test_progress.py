"""Progress: a line for each step, whether anybody watches or not."""

import io
import re

import pytest
from rich.console import Console

from services.progress import Teller


def told(*, terminal, error=None):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80, color_system=None)
    try:
        with Teller(console) as teller:
            teller.say("starting Kafka")
            teller.say("fetching jars: 1 of 2")
            teller.say("fetching jars: 2 of 2")
            if error is not None:
                raise error
    except ArithmeticError:
        pass
    return re.sub(r"\d\.\d s", "0.0 s", out.getvalue())


def test_without_a_terminal_each_step_is_a_line_at_its_beginning():
    assert told(terminal=False) == "· starting Kafka\n· fetching jars: 1 of 2\n"


def test_on_a_terminal_each_step_ends_as_a_line_with_its_time():
    shown = told(terminal=True)
    assert "✓ starting Kafka (0.0 s)\n" in shown
    assert "✓ fetching jars: 2 of 2 (0.0 s)\n" in shown


@pytest.mark.parametrize("terminal", [True, False])
def test_a_step_that_failed_is_not_told_as_done(terminal):
    assert "✓ fetching" not in told(terminal=terminal, error=ArithmeticError())
