"""The demo, run as a reader runs it: events and exports go in, out comes what the README shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent.parent / "README.md"
VARIES = re.compile(r"@[0-9]+|run-[0-9a-f]+|as of |events a second|─{5}|…|\.csv$")


def words(line):
    """A line without the spaces that its neighbours' widths decide."""
    return " ".join(line.split())


COMMAND = [sys.executable, "-c", "from services.cli import main; main()"]


@pytest.fixture
def environment(tmp_path):
    """A data folder of the test's own; what still runs from it is ended, whatever the test did."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("TURNSHEET_")}
    environment = plain | {"TURNSHEET_HOME": str(tmp_path / "demo"), "COLUMNS": "100"}
    yield environment
    subprocess.run([*COMMAND, "down"], env=environment, capture_output=True, check=True)


@pytest.mark.timeout(400)
def test_the_demo_prints_what_the_readme_shows(environment, tmp_path):
    home = tmp_path / "demo"
    done = subprocess.run(
        [*COMMAND, "demo"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    sample = README.read_text().partition("```text\n· starting")[2].partition("```")[0]
    sample = sample.partition("$ turnsheet")[2]
    expected = {words(line) for line in sample.splitlines() if not VARIES.search(line)}
    printed = {words(line) for line in done.stdout.splitlines()}
    assert expected - printed - {"scorecard firm-001 2026-W28"} == set()
    assert len(expected) > 40
    assert (home / "INV-2026-000001.csv").read_text().count("INV-2026-000001") == 3
