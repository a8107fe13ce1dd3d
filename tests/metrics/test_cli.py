"""The commands at the terminal: tables in 100 columns, JSON for machines, plain sentences."""

import asyncio
import json
import os
import sys
from typing import NamedTuple

import pytest

from services.metrics.tables import duration_text, hours_text, percent_text
from tests.log import DIRECTORY, entry
from tests.metrics.test_api import CALENDAR, STORY, requested, submitted


class Ran(NamedTuple):
    """A command that has ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def lines(self):
        return [line.rstrip() for line in self.stdout.splitlines()]


async def command(*words, home):
    """Run a command in a process of its own, as a person would whose terminal is a file."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from services.cli import main; main()",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TURNSHEET_HOME": str(home)},
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


async def run(house, *words, token=None):
    """Run a command against the running house."""
    token = token or await house.token()
    given = [*words, "--url", house.url, "--token", token]
    return await command(*given, home=house.settings.home)


async def test_a_scorecard_reads_well_in_100_columns(house):
    await house.put([*DIRECTORY, CALENDAR], "admin:a")
    await house.put(STORY)
    found = await run(house, "scorecard", "firm-1", "2026-W27")
    lines = found.lines
    assert found.exit_code == 0
    assert max(map(len, lines)) <= 100
    assert lines[0] == ("Scorecard firm-1 · 2026-W27 · 29 Jun \u2013 5 Jul 2026 · America/New_York")
    assert lines[2] == "ACTIVE"
    assert [" ".join(line.split()) for line in lines if line.startswith("whole firm")] == [
        "whole firm 1.5 h, 7.5 h 1.5 h, 6.5 h 50 % 100 % 50 % 1 2 1.3",
        "whole firm 0.8 - - - - 0.5 - -".replace("-", "\u2013"),
    ]
    assert "n 2           n 2  9\u201391 %, n 2        n 2  9\u201391 %, n 2" in found.stdout
    assert "TRIAL" not in found.stdout
    assert "4 tasks requested" in lines


async def test_figures_are_listed_with_their_n_and_their_doubt(house):
    await house.put([*DIRECTORY, CALENDAR], "admin:a")
    await house.put([piece for n in range(12) for piece in (
        requested(f"t-{n}"), submitted(f"t-{n}", 60 * (n + 1)))])  # fmt: skip
    await house.put([entry("en-1", 90)])
    found = await run(
        house, "metrics", "firm-1", "--from", "2026-07-01", "--to", "2026-07-03",
        "--metric", "turnaround,review_coverage,hours", "--clock", "wall",
    )  # fmt: skip
    assert found.exit_code == 0
    lines = found.lines
    assert lines[0] == "firm-1 · 1\u20133 Jul 2026 · America/New_York"
    assert [line.split() for line in lines[4:7]] == [
        ["turnaround,", "wall", "active", "6.5", "h", "12", "p90", "11", "h"],
        ["review", "coverage", "active", "0", "%", "12", "0/12,", "0\u201324", "%"],
        ["hours", "active", "1.5", "h", "1"],
    ]


async def test_machines_get_the_answer_of_the_service(house):
    await house.put(DIRECTORY, "admin:a")
    token = await house.token()
    printed = await run(house, "scorecard", "firm-1", "2026-W27", "--json", token=token)
    answer = await house.get(token, "/v1/firms/firm-1/scorecards/2026-W27")
    assert json.loads(printed.stdout)["placements"] == answer.body["placements"]
    figures = await run(house, "metrics", "firm-1", "--json", "--phase", "all", token=token)
    assert {figure["phase"] for figure in json.loads(figures.stdout)["figures"]} == {
        "active",
        "shadow",
        "trial",
    }


async def test_days_and_groups_have_columns_of_their_own(house):
    await house.put(DIRECTORY, "admin:a")
    await house.put(STORY)
    found = await run(
        house, "metrics", "firm-1", "--from", "2026-07-01", "--to", "2026-07-02", "--metric",
        "hours", "--granularity", "day", "--group-by", "placement,country",
    )  # fmt: skip
    assert [line.split() for line in found.lines[2:6] if "─" not in line] == [
        ["metric", "phase", "from", "placement", "country", "value", "n", "detail", "left", "out"],
        ["hours", "active", "2026-07-01", "pl-1", "PH", "1.0", "h", "2"],
        ["hours", "active", "2026-07-02", "pl-1", "PH", "0.3", "h", "1"],
    ]


async def test_what_goes_wrong_is_one_sentence(house):
    await house.put(DIRECTORY, "admin:a")
    cases = [
        (
            ["metrics", "firm-0"],
            1,
            "there is no /v1/firms/firm-0/metrics",
        ),
        (["scorecard", "firm-1", "2026-W60"], 2, "no ISO week"),
        (["metrics", "firm-1", "--metric", "charm"], 2, "--metric"),
        (["metrics", "firm-1", "--group-by", "matter_ref"], 2, "--group-by"),
        (["metrics", "firm-1", "--from", "2023-07-02", "--to", "2026-07-01"], 2, "two years"),
        (["metrics", "firm-1", "--to", "tomorrow"], 2, "no date"),
        (["metrics", "firm/1"], 2, "an id is letters"),
    ]
    token = await house.token()
    ran = await asyncio.gather(*(run(house, *words, token=token) for words, _, _ in cases))
    for (words, code, sentence), found in zip(cases, ran, strict=True):
        said = " ".join(found.stderr.split())
        assert (found.exit_code, sentence in said) == (code, True), (words, said)
        assert found.stdout == ""
    refused = await run(house, "metrics", "firm-1", token="tns_firm_x")
    said = " ".join(refused.stderr.split())
    assert (refused.exit_code, "needs a valid bearer token: give another --token" in said) == (
        1,
        True,
    )
    phase = await run(house, "metrics", "firm-1", "--phase", "foo", token=token)
    assert (phase.exit_code, phase.stderr.count("--phase")) == (2, 1), phase.stderr


async def test_a_service_that_does_not_run_is_told_as_such(tmp_path, unused_tcp_port):
    url = f"http://127.0.0.1:{unused_tcp_port}"
    found = await command("metrics", "firm-1", "--url", url, "--token", "t", home=tmp_path)
    assert (found.exit_code, "no answer from" in found.stderr) == (1, True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 m"),
        (2_700, "45 m"),
        (3_600, "1.0 h"),
        (-5_400, "-1.5 h"),
        (35_999, "10 h"),
        (68_400, "19 h"),
        (259_200, "3.0 d"),
    ],
)
def test_durations_are_written_in_the_unit_that_reads_best(seconds, text):
    assert duration_text(seconds) == text


def test_hours_and_shares_are_rounded_halves_up():
    assert [hours_text(seconds) for seconds in (0, 179, 180, 540, 4_500_000, None)] == [
        "0.0",
        "0.0",
        "0.1",
        "0.2",
        "1,250.0",
        "\u2013",
    ]
    assert [percent_text(share) for share in (0.005, 0.285, 0.114999, 1.0, None)] == [
        "1 %",
        "29 %",
        "11 %",
        "100 %",
        "\u2013",
    ]
