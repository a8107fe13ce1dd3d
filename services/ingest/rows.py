"""Rows: a tool's CSV export, read by the names of its columns into stretches of work."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from schemas.instants import YEARS

Cells = Mapping[str, str]
PEOPLE = ("User", "Email")


class RowRefused(NamedTuple):
    """A row that is not taken: its line in the file (the header is line 1), and why."""

    line: int
    code: str
    detail: str


class FileRefused(Exception):
    """A file that cannot be taken at all; none of its words are in what this says."""

    def __init__(self, code: str, detail: str, line: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.line = line


@dataclass(frozen=True, slots=True)
class Stint:
    """A stretch of work as a tool exports it; the clock times are local, of a zone not told.

    The tool's description is left in the file: no part of it goes on.
    """

    line: int
    user: str
    email: str
    client: str
    project: str
    task: str
    tags: tuple[str, ...]
    billable: bool | None
    started: datetime
    ended: datetime

    @property
    def person(self) -> str:
        """Whoever worked: by e-mail, or by name where there is none."""
        return self.email.casefold() or self.user


def read_table(raw: bytes, required: Iterable[str]) -> Iterator[tuple[int, Cells] | RowRefused]:
    """Yield each row's line and cells by column. Raises FileRefused.

    A byte-order mark is passed over; a row with another number of cells is refused by itself.
    """
    if b"\x00" in raw:
        raise FileRefused("nul", "the file holds a NUL character: is it text?")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileRefused("not_utf8", "the file is not UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: Sequence[str] | None = None
    line = 1
    try:
        for cells in reader:
            first, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _check_header([cell.strip() for cell in cells], required)
            elif len(cells) != len(header):
                yield RowRefused(first, "cells", "another number of cells than the header has")
            else:
                yield first, dict(zip(header, (cell.strip() for cell in cells), strict=True))
    except csv.Error:
        raise FileRefused("bad_csv", "from here on this is no CSV", line) from None
    if header is None:
        raise FileRefused("no_header", "the file is empty")


def _check_header(header: list[str], required: Iterable[str]) -> list[str]:
    for name in required:
        if name not in header:
            raise FileRefused("missing_column", f"there is no column {name}", 1)
    if not set(PEOPLE) & set(header):
        raise FileRefused("missing_column", "there is no column User and no column Email", 1)
    if len(set(header)) != len(header):
        raise FileRefused("doubled_column", "two columns have one name", 1)
    return header


def read_billable(text: str) -> bool | None:
    """Read Yes or No; an empty cell says nothing. Raises KeyError for anything else."""
    return {"": None, "yes": True, "no": False}[text.casefold()]


def split_tags(text: str) -> tuple[str, ...]:
    """Read a list of tags."""
    return tuple(sorted({tag.strip() for tag in text.split(",")} - {""}))


def make_stint(
    line: int, cells: Cells, *, task: str, started: datetime, ended: datetime
) -> Stint | RowRefused:
    """Make a stint of the cells that both formats share by name."""
    user, email = (cells.get(name, "") for name in PEOPLE)
    if not user and not email:
        return RowRefused(line, "no_person", "neither user nor e-mail")
    try:
        billable = read_billable(cells.get("Billable", ""))
    except KeyError:
        return RowRefused(line, "billable", "Billable is neither Yes nor No")
    return Stint(
        line=line,
        user=user,
        email=email,
        client=cells.get("Client", ""),
        project=cells.get("Project", ""),
        task=task,
        tags=split_tags(cells.get("Tags", "")),
        billable=billable,
        started=started,
        ended=ended,
    )


def at_zone(local: datetime, zone: ZoneInfo) -> datetime | str:
    """Give a local clock time its offset; a code where it does not say one moment.

    In the hour that a zone skips there is no such time, in the one that it repeats there are two.
    """
    if local.year not in YEARS:
        return "year_range"
    first = local.replace(tzinfo=zone, fold=0)
    if first.utcoffset() == first.replace(fold=1).utcoffset():
        return first
    back = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    return "ambiguous_time" if back == local else "skipped_time"
