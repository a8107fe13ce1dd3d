"""`turnsheet simulate` and `turnsheet demo`: a lively month of work, and the story told with it."""

import os
from pathlib import Path
from typing import Annotated

import typer

from schemas.periods import Month
from services.demo.files import write_workload
from services.demo.story import tell
from services.demo.workload import simulate as simulate_workload
from services.terminal import AsJson, read_month, show

app = typer.Typer()


@app.command()
def simulate(
    firms: Annotated[int, typer.Option(min=1, max=1000, help="How many firms.")] = 4,
    months: Annotated[int, typer.Option(min=1, max=60, help="How many months.")] = 1,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal bytes.")] = 7,
    start: Annotated[
        str, typer.Option(parser=read_month, help="The first month, like 2026-07.")
    ] = "2026-07",
    out: Annotated[Path, typer.Option(help="The folder to write into.")] = Path("simulated"),
    as_json: AsJson = False,
) -> None:
    """Make up a month of work: events to send, exports to import.

    Equal options give equal bytes. Each file of events is of one sender, after whom it is named.
    """
    workload = simulate_workload(firms, months, seed, Month.parse(start).first_date)
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
    words = (
        "{firms} firms, {placements} placements: {directory_events} directory events, "
        "{events} events and {tool_rows} rows of tool exports, in {files} files under {folder}/\n"
        "Next: turnsheet send {folder}/directory.ndjson".format(**summary)
    )
    show(summary, [words], as_json=as_json)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Stay up at the end, until Ctrl-C.")] = False,
) -> None:
    """Show all of it: a month goes in, an invoice comes out.

    Runs real Kafka and Postgres, and prints each command that it gives.
    Begins from an empty data folder each time: .turnsheet/demo, unless TURNSHEET_HOME names one.
    A folder that a demo before has left is emptied; any other that holds something is refused.
    """
    home = Path(os.environ.setdefault("TURNSHEET_HOME", str(Path(".turnsheet/demo").absolute())))
    tell(home.absolute(), keep=keep)
