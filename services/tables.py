"""How tables look at the terminal, the same in every house."""

from rich.box import SIMPLE_HEAD
from rich.table import Table


def plain_table(
    *columns: str, title: str | None = None, right: frozenset[str] = frozenset()
) -> Table:
    """Make a table without frames; the columns named in `right` stand at the right, unbroken."""
    table = Table(
        title=title,
        title_style="bold",
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    for name in columns:
        at_right = name in right
        table.add_column(
            name, justify="right" if at_right else "left", overflow="fold", no_wrap=at_right
        )
    return table
