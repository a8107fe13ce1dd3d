"""What a run says: each figure of ours beside a ceiling or a peer of the same run, and its goal."""

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """A median of ours beside one of another, in the same unit; `ratio` is the median of ratios.

    `goal` bounds the ratio, or, without `ratio`, our own figure; None: no goal is set for it.
    `meant` names the larger size that the goal is for: it is told in brackets, and not judged.
    """

    row: str
    what: str
    unit: str
    ours: float
    other: str = ""
    theirs: float | None = None
    ratio: float | None = None
    spread: str = ""
    goal: float | None = None
    sense: Literal["at least", "at most"] = "at least"
    meant: str = ""

    @property
    def met(self) -> bool | None:
        """Say whether the goal is reached; None where nothing is judged."""
        if self.goal is None or self.meant:
            return None
        value = self.ours if self.ratio is None else self.ratio
        return value >= self.goal if self.sense == "at least" else value <= self.goal


def compare(
    row: str,
    what: str,
    unit: str,
    ours: Sequence[float],
    other: str,
    theirs: Sequence[float],
    goal: float | None = None,
    sense: Literal["at least", "at most"] = "at least",
    meant: str = "",
) -> Figure:
    """Compare rounds with rounds of the same moment: noise of the machine falls on both."""
    ratios = [mine / his for mine, his in zip(ours, theirs, strict=True)]
    return Figure(
        row,
        what,
        unit,
        statistics.median(ours),
        other,
        statistics.median(theirs),
        statistics.median(ratios),
        f"{min(ratios):.2f}–{max(ratios):.2f}",
        goal,
        sense,
        meant,
    )


def turned(contenders: Sequence[T], number: int) -> list[T]:
    """Return the order of a round: each round another contender goes first."""
    first = number % len(contenders)
    return [*contenders[first:], *contenders[:first]]


def combined(*parts: Sequence[float]) -> list[float]:
    """Return what could be had if these parts were done one after the other, round by round."""
    return [1 / sum(1 / value for value in values) for values in zip(*parts, strict=True)]


HEADS = ("row", "what", "ours", "beside", "theirs", "ratio", "range", "goal", "met")


def cells(figure: Figure) -> tuple[str, ...]:
    """Write a figure as the cells of a table."""
    goal = ""
    if figure.goal is not None:
        sign = "≥" if figure.sense == "at least" else "≤"
        goal = f"{sign} {figure.goal:g}"
    if figure.meant:
        goal = f"({goal} at {figure.meant})"
    return (
        figure.row,
        figure.what,
        f"{number(figure.ours)} {figure.unit}",
        figure.other,
        "" if figure.theirs is None else number(figure.theirs),
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        figure.spread,
        goal,
        {True: "yes", False: "NO", None: ""}[figure.met],
    )


def number(value: float) -> str:
    """Write a number as people read it."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(figures: Iterable[Figure]) -> str:
    """Write figures as a table for a terminal."""
    rows = [HEADS, *map(cells, figures)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEADS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "─" * max(map(len, lines)))
    return "\n".join(lines)


def markdown(figures: Iterable[Figure]) -> str:
    """Write figures as a table for docs/performance.md."""
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    lines += ["| " + " | ".join(cells(figure)) + " |" for figure in figures]
    return "\n".join(lines)


def document(figures: Sequence[Figure], rounds: int, absent: Sequence[str]) -> str:
    """Write a run as JSON."""
    return json.dumps(
        {
            "machine": machine(),
            "rounds": rounds,
            "absent": list(absent),
            "figures": [asdict(figure) | {"met": figure.met} for figure in figures],
        },
        indent=2,
        ensure_ascii=False,
    )


def machine() -> str:
    """Describe the machine and the versions that a figure depends on."""
    found = ""
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        found = names[0].partition(":")[2].strip() if names else ""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    packages = ", ".join(
        f"{name} {_version(name)}" for name in ("aiohttp", "aiokafka", "asyncpg", "pydantic")
    )
    return (
        f"{os.cpu_count()} × {found or platform.machine()}, {pages / 2**30:.0f} GiB, "
        f"{platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, {packages}; "
        "Postgres and Kafka on the same machine, fsync on"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
