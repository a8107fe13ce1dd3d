"""What the commands share at the terminal."""

from typing import Annotated, NoReturn

import typer
from rich.console import Console

err = Console(stderr=True, highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
TokenText = Annotated[
    str | None,
    typer.Option("--token", help="The token to speak with, instead of TURNSHEET_TOKEN's."),
]
Url = Annotated[str | None, typer.Option("--url", help="Where ingest is, when not here.")]


def fail(words: str) -> NoReturn:
    """Say in a sentence what went wrong, and end with 1."""
    err.print(f"[red]error[/red] {words}", soft_wrap=True)
    raise typer.Exit(1)
