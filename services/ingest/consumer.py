"""Ingest's own copy of the directory: who is placed where, as far as the door has to know it."""

from collections.abc import Sequence
from typing import Any

from schemas.directory import Directory
from schemas.events import EntityKey
from schemas.facts import Fact
from services.folding import Reading
from services.postgres import Connection


def _fold(key: EntityKey, facts: Sequence[Fact], directory: Directory) -> Any:  # noqa: ARG001 (the corridor's signature)
    raise AssertionError(f"ingest folds the directory only, and {key.kind} is not of it")


async def _save(conn: Connection, saved: Sequence[tuple[EntityKey, Any]]) -> None:
    """Save nothing: the corridor keeps the directory, and ingest folds nothing else."""
    assert not saved, f"{len(saved)} entities on {conn} that nobody folded"


READING = Reading("ingest", ("directory",), frozenset(), _fold, _save)
