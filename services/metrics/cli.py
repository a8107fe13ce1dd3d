"""The commands of the metrics house; each speaks to its service as any client would."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final

import typer

from schemas.periods import Week
from services.client import call
from services.metrics.tables import figures_table, scorecard_table
from services.settings import load
from services.terminal import AsJson, Firm, TokenText, Url, read_day, show

app = typer.Typer()

SHOWN_DAYS: Final = 28
FIRST_FIGURES: Final = (
    "turnaround,first_pass_acceptance,escalation_rate,throughput,open_overdue,hours_by_task_type"
)


def read_week(text: str) -> str:
    """Check an ISO week."""
    try:
        return str(Week.parse(text))
    except ValueError:
        raise typer.BadParameter(f"{text} is no ISO week: give one like 2026-W28") from None


@app.command()
def metrics(
    firm: Firm,
    since: Annotated[
        str | None,
        typer.Option("--from", parser=read_day, help="The first date, like 2026-07-01."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--to", parser=read_day, help="The date after the last; tomorrow if not said."
        ),
    ] = None,
    metric: Annotated[str, typer.Option(help="One or several, with commas.")] = FIRST_FIGURES,
    group_by: Annotated[
        str | None, typer.Option(help="assistant, placement, task_type, phase, country.")
    ] = None,
    granularity: Annotated[str, typer.Option(help="day, week, month or all.")] = "all",
    phase: Annotated[
        str | None, typer.Option(help="active, shadow, trial, unknown or all; active if not said.")
    ] = None,
    clock: Annotated[
        str | None, typer.Option(help="wall, firm_business or both, with a comma.")
    ] = None,
    gross: Annotated[bool, typer.Option("--gross", help="With the waits on others.")] = False,
    token: TokenText = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show a firm's figures of some dates.

    Without dates: those of the last four weeks.
    """
    today = datetime.now(UTC).date()
    last = date.fromisoformat(until) if until else today + timedelta(days=1)
    query = {
        "from": since or _earlier(last),
        "to": last.isoformat(),
        "metric": metric,
        "granularity": granularity,
        "net": "false" if gross else "true",
        **({"group_by": group_by} if group_by else {}),
        **({"phase": phase} if phase else {}),
        **({"clock": clock} if clock else {}),
    }
    answer = _ask(f"/v1/firms/{firm}/metrics", query, token, url)
    show(answer, [figures_table(answer)], as_json=as_json)


@app.command()
def scorecard(
    firm: Firm,
    week: Annotated[str, typer.Argument(parser=read_week, help="The ISO week, like 2026-W28.")],
    token: TokenText = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show a firm's week: every figure per placement and phase."""
    answer = _ask(f"/v1/firms/{firm}/scorecards/{week}", {}, token, url)
    show(answer, [scorecard_table(answer)], as_json=as_json)


def _earlier(until: date) -> str:
    try:
        return (until - timedelta(days=SHOWN_DAYS)).isoformat()
    except OverflowError:
        raise typer.BadParameter(f"{until} is before all figures") from None


def _ask(path: str, query: Mapping[str, str], token: str | None, url: str | None) -> Any:
    return json.loads(call(load(), "metrics", "GET", path, query=query, token=token, url=url))
