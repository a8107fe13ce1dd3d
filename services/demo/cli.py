"""`turnsheet simulate` and `turnsheet demo`: a lively month of work, and the story told with it."""

import json
import os
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from services.demo.files import write_workload
from services.demo.story import tell
from services.demo.workload import simulate as simulate_workload

app = typer.Typer()


def month_start(text: str) -> date:
    """Read `2026-07` as the first day of that month."""
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError as error:
        raise typer.BadParameter("give a month like 2026-07") from error


@app.command()
def simulate(
    firms: Annotated[int, typer.Option(min=1, max=1000, help="How many firms.")] = 4,
    months: Annotated[int, typer.Option(min=1, max=60, help="How many months.")] = 1,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal bytes.")] = 7,
    start: Annotated[str, typer.Option(help="The first month, like 2026-07.")] = "2026-07",
    out: Annotated[Path, typer.Option(help="The folder to write into.")] = Path("simulated"),
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary for machines.")] = False,
) -> None:
    """Make a lawful, lively, deterministic workload: events to send and CSV exports to import."""
    workload = simulate_workload(firms, months, seed, month_start(start))
    paths = write_workload(workload, out)
    summary = {
        "firms": len(workload.world.firms),
        "placements": len(workload.world.placements),
        "directory_events": len(workload.directory),
        "events": len(workload.events),
        "tool_rows": len(workload.tool_rows),
        "files": len(paths),
        "folder": str(out),
    }
    if as_json:
        typer.echo(json.dumps(summary))
        return
    typer.echo(
        "{firms} firms, {placements} placements: {directory_events} directory events, "
        "{events} events and {tool_rows} rows of tool exports, in {files} files under {folder}/\n"
        "Next: turnsheet send {folder}/directory.ndjson".format(**summary)
    )


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Stay up at the end, until Ctrl-C.")] = False,
) -> None:
    """Tell the whole story on real Kafka and Postgres: a month goes in, an invoice comes out.

    Begins from an empty data folder each time: .turnsheet/demo, unless TURNSHEET_HOME names one.
    """
    home = Path(os.environ.setdefault("TURNSHEET_HOME", str(Path(".turnsheet/demo").absolute())))
    tell(home.absolute(), keep=keep)
