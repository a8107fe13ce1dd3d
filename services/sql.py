"""Named statements: all SQL of a room stands in one plain file, each under its own name."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_NAME = re.compile(r"^-- name: (?P<name>\S+)[ \t]*$", re.MULTILINE)
_LOWER = re.compile(r"[a-z][a-z0-9_]*")


class QueriesError(ValueError):
    """A file of named statements breaks its form; the message says where and how."""


class Queries(Mapping[str, str]):
    """The statements of one file, by name: `queries.load_tasks` is a text for asyncpg."""

    def __init__(self, path: Path, statements: Mapping[str, str]) -> None:
        self._path = path
        self._statements = dict(statements)

    def __getattr__(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            raise AttributeError(f"{self._path.name} has no statement named {name!r}") from None

    def __getitem__(self, name: str) -> str:
        return self._statements[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def queries(path: Path) -> Queries:
    """Read a file of statements.

    Each begins with `-- name: load_tasks`, then a comment line with its purpose, then the SQL
    with asyncpg's `$1`. Raises QueriesError for a name twice, a missing purpose or no SQL.
    """
    pieces = _NAME.split(path.read_text(encoding="utf-8"))
    if any(line.strip() and not line.startswith("--") for line in pieces[0].splitlines()):
        raise QueriesError(f"{path.name}: SQL before the first name")
    statements: dict[str, str] = {}
    for name, body in zip(pieces[1::2], pieces[2::2], strict=True):
        if _LOWER.fullmatch(name) is None:
            raise QueriesError(f"{path.name}: {name!r} is no name in lower case")
        if name in statements:
            raise QueriesError(f"{path.name}: {name} stands there twice")
        statements[name] = _statement(path, name, body)
    return Queries(path, statements)


def _statement(path: Path, name: str, body: str) -> str:
    lines = body.strip().splitlines()
    if not lines or not lines[0].startswith("-- "):
        raise QueriesError(f"{path.name}: {name} needs a line that says why it is there")
    text = "\n".join(line for line in lines if not line.lstrip().startswith("--")).strip()
    if not text:
        raise QueriesError(f"{path.name}: {name} has no SQL")
    return text.removesuffix(";")
