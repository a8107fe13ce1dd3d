"""The commands of the metrics house; each speaks to its service as any client would."""

import asyncio
import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, NoReturn

import aiohttp
import typer
from rich.console import Console, RenderableType

from schemas.periods import Week
from services.machine.operator_tokens import operator_token
from services.metrics.tables import figures_table, scorecard_table
from services.settings import load

app = typer.Typer()

REQUEST_SECONDS: Final = 30.0
WIDTH: Final = 100
SHOWN_DAYS: Final = 28
FIRST_FIGURES: Final = (
    "turnaround,first_pass_acceptance,escalation_rate,throughput,open_overdue,hours_by_task_type"
)
_FIRM: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")

Firm = Annotated[str, typer.Argument(help="The firm's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
TokenText = Annotated[
    str | None,
    typer.Option("--token", help="The token to speak with, instead of TURNSHEET_TOKEN's."),
]
Url = Annotated[str | None, typer.Option("--url", help="Where metrics is, when not here.")]


@app.command()
def metrics(
    firm: Firm,
    since: Annotated[
        str | None, typer.Option("--from", help="The first date, like 2026-07-01.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="The date after the last; tomorrow if not said.")
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
    """Show a firm's figures; without dates those of the last four weeks."""
    today = datetime.now(UTC).date()
    last = until or (today + timedelta(days=1)).isoformat()
    query = {
        "from": since or _earlier(last),
        "to": last,
        "metric": metric,
        "granularity": granularity,
        "net": "false" if gross else "true",
        **({"group_by": group_by} if group_by else {}),
        **({"phase": phase} if phase else {}),
        **({"clock": clock} if clock else {}),
    }
    answer = _ask(f"/v1/firms/{_id(firm)}/metrics", query, token, url)
    _show(answer, as_json, figures_table)


@app.command()
def scorecard(
    firm: Firm,
    week: Annotated[str, typer.Argument(help="The ISO week, like 2026-W28.")],
    token: TokenText = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show a firm's week: every figure per placement and phase."""
    try:
        named = Week.parse(week)
    except ValueError:
        raise typer.BadParameter(f"{week} is no ISO week: give one like 2026-W28") from None
    answer = _ask(f"/v1/firms/{_id(firm)}/scorecards/{named}", {}, token, url)
    _show(answer, as_json, scorecard_table)


def _earlier(until: str) -> str:
    try:
        return (datetime.fromisoformat(until) - timedelta(days=SHOWN_DAYS)).date().isoformat()
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{until} is no date: give one like 2026-07-31") from None


def _id(firm: str) -> str:
    if _FIRM.fullmatch(firm) is None:
        raise typer.BadParameter("a firm's id is letters, digits and . _ : -")
    return firm


def _ask(path: str, query: Mapping[str, str], token: str | None, url: str | None) -> Any:
    """Ask the service; whatever it refuses ends the command with a sentence."""
    settings = load()
    base = (url or settings.url("metrics")).rstrip("/")
    status, answer = asyncio.run(
        _get(base + path, query, token or operator_token(settings, "finance"))
    )
    if status is None:
        _fail(f"no answer from {base}: is it running? `turnsheet status` tells")
    if status == 404:
        _fail("no such firm, or this token may not see it")
    if status == 422 and isinstance(answer, dict):
        faults = (f"{_named(one)}: {one['detail']}" for one in answer.get("errors", ()))
        raise typer.BadParameter("; ".join(faults) or answer["title"])
    if status != 200:
        title = answer.get("title") if isinstance(answer, dict) else None
        _fail(f"{status} {title or 'an odd answer'}")
    return answer


async def _get(url: str, query: Mapping[str, str], token: str) -> tuple[int | None, Any]:
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as http,
            http.get(url, params=query) as response,
        ):
            return response.status, await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError):
        return None, None
    except ValueError:
        return 502, None


def _named(fault: Mapping[str, Any]) -> str:
    """Name the option that a fault of the query is about."""
    name = str(fault["pointer"]).removeprefix("/query").strip("/").split("/")[0]
    return f"--{name.replace('_', '-')}" if name else "the dates"


def _show(answer: Any, as_json: bool, lay_out: Any) -> None:
    if as_json:
        typer.echo(json.dumps(answer))
        return
    table: RenderableType = lay_out(answer)
    Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False).print(table)


def _fail(words: str) -> NoReturn:
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(
        f"error: {words}", style="red"
    )
    raise typer.Exit(1)
