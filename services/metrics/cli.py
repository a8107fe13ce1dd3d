"""The commands of the metrics house; each speaks to its service as any client would."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

import typer

from schemas.periods import Week
from services.client import Service, speaks
from services.metrics.tables import figures_table, scorecard_table
from services.terminal import AsJson, Firm, read_day, show

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
@speaks("metrics")
def metrics(
    service: Service,
    firm: Firm,
    since: Annotated[
        str | None,
        typer.Option("--from", parser=read_day, help="The first date, like 2026-07-01."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--to", parser=read_day, help="The last date; today in UTC if not said."),
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
    as_json: AsJson = False,
) -> None:
    """Show a firm's figures of some dates.

    Without dates: those of the last four weeks.
    """
    query = {
        **_span(since, until or datetime.now(UTC).date().isoformat()),
        "metric": metric,
        "granularity": granularity,
        "net": "false" if gross else "true",
        **({"group_by": group_by} if group_by else {}),
        **({"phase": phase} if phase else {}),
        **({"clock": clock} if clock else {}),
    }
    answer = service.ask("GET", f"/v1/firms/{firm}/metrics", query=query, has="figures")
    show(answer, [figures_table(answer)], as_json=as_json)


@app.command()
@speaks("metrics")
def scorecard(
    service: Service,
    firm: Firm,
    week: Annotated[str, typer.Argument(parser=read_week, help="The ISO week, like 2026-W28.")],
    as_json: AsJson = False,
) -> None:
    """Show a firm's week: every figure per placement and phase."""
    answer = service.ask("GET", f"/v1/firms/{firm}/scorecards/{week}", has="placements")
    show(answer, [scorecard_table(answer)], as_json=as_json)


def _span(since: str | None, last: str) -> dict[str, str]:
    """Ask for dates up to the last; the service is told the date after it."""
    if since is not None and since > last:
        raise typer.BadParameter(f"--to {last} is before --from {since}")
    try:
        after = date.fromisoformat(last) + timedelta(days=1)
        first = since or (after - timedelta(days=SHOWN_DAYS)).isoformat()
    except OverflowError:
        raise typer.BadParameter(f"{last} is before or after all figures") from None
    return {"from": first, "to": after.isoformat()}
