"""A house's copy of the directory: locked in share by who folds work, owned by who changes it.

Both take rows in one order: stubs first, then firms, placements and assistants, each by its key. So
no fold commits against a timeline that was just replaced, and nobody waits for each other in turn.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from schemas.directory import (
    ASSISTANT,
    FIRM,
    PLACEMENT,
    Directory,
    Firm,
    Placement,
    fold_assistant,
    fold_firm,
    fold_placement,
)
from schemas.events import EntityKey
from schemas.facts import Fact
from schemas.fields import Kind
from services.failures import Failure, attempt
from services.log_records import placement_of
from services.postgres import Connection
from services.sql import queries

DIRECTORY_KINDS: frozenset[Kind] = frozenset({"firm", "placement", "assistant"})
SQL = queries(Path(__file__).with_name("directories.sql"))
_FOLDS: Mapping[Kind, tuple[TypeAdapter[Any], Callable[[Sequence[Fact]], Any]]] = {
    "firm": (FIRM, fold_firm),
    "placement": (PLACEMENT, fold_placement),
    "assistant": (ASSISTANT, fold_assistant),
}


class Timelines(NamedTuple):
    """Firms and placements that facts name, as far as they are known."""

    firms: Mapping[str, Firm]
    placements: Mapping[tuple[str, str], Placement]

    def directory(self, key: EntityKey, facts: Iterable[Fact]) -> Directory:
        """Give one entity its firm and the placements that its own facts name, no others.

        A fold sees the same whatever else is folded beside it.
        """
        named = {(key.firm_id, placement_of(fact) or "") for fact in facts}
        return Directory(
            self.firms.get(key.firm_id),
            {
                placement_id: self.placements[firm_id, placement_id]
                for firm_id, placement_id in named
                if (firm_id, placement_id) in self.placements
            },
        )


async def load_directory(conn: Connection, firm_id: str) -> Directory:
    """Load all that is known of a firm: itself, None while unknown, and its placements."""
    firm = await load_firm(conn, firm_id)
    placements = await conn.fetch(SQL.load_placements_of_firm, firm_id)
    return Directory(
        firm,
        {row["placement_id"]: _placement(row["state"]) for row in placements},
    )


async def load_firm(conn: Connection, firm_id: str) -> Firm | None:
    """Load what is known of a firm itself; None while unknown."""
    state = await conn.fetchval(SQL.load_firm, firm_id)
    return None if state is None else _firm(state)


async def knows_firm(conn: Connection, firm_id: str) -> bool:
    """Say whether the directory has told us of a firm."""
    return await load_firm(conn, firm_id) is not None


async def share_timelines(conn: Connection, facts: Mapping[EntityKey, Sequence[Fact]]) -> Timelines:
    """Lock in share the firms and placements that facts name, and return their timelines.

    What nobody has told us of gets a stub: its row is what a later directory event waits for.
    """
    firm_ids = sorted({key.firm_id for key in facts})
    pairs = _columns(
        {
            (key.firm_id, placement_id)
            for key, found in facts.items()
            for placement_id in map(placement_of, found)
            if placement_id is not None
        }
    )
    if await conn.fetchval(SQL.are_stubs_missing, firm_ids, *pairs):
        await conn.execute(SQL.insert_firm_stubs, firm_ids)
        await conn.execute(SQL.insert_placement_stubs, *pairs)
    firms = await conn.fetch(SQL.share_firms, firm_ids)
    placements = await conn.fetch(SQL.share_placements, *pairs)
    return Timelines(
        {firm_id: _firm(state) for firm_id, state in firms if state is not None},
        {
            (firm_id, placement_id): _placement(state)
            for firm_id, placement_id, state in placements
            if state is not None
        },
    )


async def own_rows(conn: Connection, keys: Iterable[EntityKey]) -> None:
    """Lock the rows of firms, placements and assistants that are about to change."""
    firms, placements, assistants = _by_kind(keys)
    firm_ids, pairs = [key.firm_id for key in firms], _pairs_of(placements)
    assistant_ids = [key.entity_id for key in assistants]
    await conn.execute(SQL.insert_firm_stubs, firm_ids)
    await conn.execute(SQL.insert_placement_stubs, *pairs)
    await conn.execute(SQL.insert_assistant_stubs, assistant_ids)
    await conn.execute(SQL.lock_firms, firm_ids)
    await conn.execute(SQL.lock_placements, *pairs)
    await conn.execute(SQL.lock_assistants, assistant_ids)


async def save_directory(
    conn: Connection,
    facts: Mapping[EntityKey, Sequence[Fact]],
    unread: Mapping[EntityKey, Failure],
    kinds: Iterable[Kind],
) -> dict[EntityKey, Failure]:
    """Fold the directory entities whose rows are owned, and queue what their changes touch.

    `kinds` are those of the work that is to be folded again. Returns the entities that failed,
    those whose facts were `unread` among them: they stay as they were.
    """
    folded: dict[EntityKey, str | None] = {}
    failed = dict(unread)
    for key in sorted(facts):
        state = attempt(partial(_fold, key, facts[key]))
        if isinstance(state, Failure):
            failed[key] = state
        else:
            folded[key] = state
    firms, placements, assistants = _by_kind(folded)
    changed_firms = await conn.fetch(
        SQL.save_firms, [key.firm_id for key in firms], [folded[key] for key in firms]
    )
    changed_placements = await conn.fetch(
        SQL.save_placements, *_pairs_of(placements), [folded[key] for key in placements]
    )
    await conn.execute(
        SQL.save_assistants,
        [key.entity_id for key in assistants],
        [folded[key] for key in assistants],
    )
    noted = sorted({*facts, *unread})
    await conn.execute(
        SQL.note_entities,
        [key.firm_id for key in noted],
        [key.kind for key in noted],
        [key.entity_id for key in noted],
        [len(facts.get(key, ())) for key in noted],
        [failed[key].reason if key in failed else None for key in noted],
    )
    pairs = _columns({(row["firm_id"], row["placement_id"]) for row in changed_placements})
    await conn.execute(SQL.queue_of_placements, *pairs, sorted(kinds))
    await conn.execute(
        SQL.queue_of_firms, sorted(row["firm_id"] for row in changed_firms), sorted(kinds)
    )
    return failed


def _fold(key: EntityKey, facts: Sequence[Fact]) -> str | None:
    """Fold one entity and write it as JSON; None while its registration or start is missing."""
    adapter, fold = _FOLDS[key.kind]
    state = fold(facts)
    return None if state is None else adapter.dump_json(state).decode()


@lru_cache(maxsize=4_096)
def _firm(state: str) -> Firm:
    """Read a firm; the same text comes with every poll, and reading a calendar takes its time."""
    return FIRM.validate_json(state)


@lru_cache(maxsize=16_384)
def _placement(state: str) -> Placement:
    return PLACEMENT.validate_json(state)


def _by_kind(keys: Iterable[EntityKey]) -> tuple[list[EntityKey], list[EntityKey], list[EntityKey]]:
    ordered = sorted(keys)
    firms, placements, assistants = (
        [key for key in ordered if key.kind == kind] for kind in ("firm", "placement", "assistant")
    )
    return firms, placements, assistants


def _pairs_of(placements: Iterable[EntityKey]) -> tuple[list[str], list[str]]:
    return _columns({(key.firm_id, key.entity_id) for key in placements})


def _columns(pairs: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    ordered = sorted(pairs)
    return [first for first, _ in ordered], [second for _, second in ordered]
