"""Billing's reading of the log: entries, folded and cut into segments."""

from collections.abc import Sequence
from typing import Any

from schemas.directory import Directory
from schemas.entries import fold_entry
from schemas.events import EntityKey
from schemas.facts import Fact
from schemas.segments import split
from services.billing.books import BookEntry
from services.billing.store import save_entries
from services.folding import Reading
from services.postgres import Connection


def fold(key: EntityKey, facts: Sequence[Fact], directory: Directory) -> BookEntry | None:
    """Fold an entry and split it; None when nothing of it stands."""
    entry = fold_entry(facts)
    if entry is None:
        return None
    return BookEntry(key.entity_id, entry, split(entry, directory))


async def save(conn: Connection, saved: Sequence[tuple[EntityKey, Any]]) -> None:
    """Write folded entries, and remove those of which nothing stands."""
    await save_entries(conn, saved)


def _parts(book: BookEntry) -> int:
    return len(book.segments)


READING = Reading("billing", ("directory", "time-events"), frozenset({"entry"}), fold, save, _parts)
