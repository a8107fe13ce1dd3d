"""What all commands share at the terminal: options, how answers and errors are told."""

import json
import re
import sys
from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.progress import Progress
from rich.table import Table

from schemas.periods import Month

WIDTH: Final = 100  # where the output is no terminal
UNBOUNDED: Final = 100_000
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_RATE: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,4})?")

err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def bar() -> Progress:
    """Show how far long work is, gone when it is done; nothing where nobody watches."""
    return Progress(console=err, transient=True, disable=not err.is_terminal)


def read_id(text: str) -> str:
    """Check an id of a firm or placement."""
    if _ID.fullmatch(text) is None:
        raise typer.BadParameter("an id is letters, digits and . _ : -")
    return text


def read_month(text: str) -> str:
    """Check a month."""
    try:
        return str(Month.parse(text))
    except ValueError:
        raise typer.BadParameter(f"{text} is no month: give one like 2026-07") from None


def read_day(text: str) -> str:
    """Check a date."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise typer.BadParameter(f"{text} is no date: give one like 2026-07-31") from None


def read_rate(text: str) -> str:
    """Check a rate an hour."""
    if _RATE.fullmatch(text) is None:
        raise typer.BadParameter(f"{text} is no rate: give one like 9.00")
    return text


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Firm = Annotated[str, typer.Argument(parser=read_id, help="The firm's id.")]
TokenText = Annotated[
    str | None,
    typer.Option(
        "--token",
        help="The token to speak with; others on the machine can see it, TURNSHEET_TOKEN's not.",
    ),
]
Url = Annotated[
    str | None, typer.Option("--url", help="Where the service is, when not on this machine.")
]


def show(body: Any, shown: Iterable[RenderableType], *, as_json: bool, width: int = WIDTH) -> None:
    """Print an answer: as JSON for machines, or as tables and lines for people.

    `width` is that of what is no terminal, or of one that is too narrow for what stands in columns.
    """
    if as_json:
        typer.echo(json.dumps(body))
        return
    items = list(shown)
    out = Console(width=None if sys.stdout.isatty() else width, highlight=False, markup=False)
    if (least := max(map(_least_width, items), default=0)) > out.width:
        out.width = max(least, width)
    for item in items:
        out.print(item)


def _least_width(item: RenderableType) -> int:
    """Hold ids and unbroken columns of tables at their width; say how much room they need."""
    if isinstance(item, Group):
        return max(map(_least_width, item.renderables), default=0)
    if isinstance(item, Padding):
        return _least_width(item.renderable) + item.left + item.right
    if not isinstance(item, Table):
        return 0
    wide = Console(width=UNBOUNDED)
    for column in item.columns:
        if column.no_wrap or not any(" " in str(cell) for cell in column.cells):
            cells = [Measurement.get(wide, wide.options, cell) for cell in column.cells]
            head = Measurement.get(wide, wide.options, column.header)
            column.min_width = max(measured.maximum for measured in (head, *cells))
            column.no_wrap = True
    return Measurement.get(wide, wide.options, item).minimum


def say_error(words: str) -> None:
    """Tell in a sentence what went wrong."""
    err.print(f"error: {words}", style="red")


def fail(words: str) -> NoReturn:
    """Tell in a sentence what went wrong, and end with 1."""
    say_error(words)
    raise typer.Exit(1)
