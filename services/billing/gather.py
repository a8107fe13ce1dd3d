"""Gathering: everything about one firm inside a run's cut, read in one snapshot."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime

from schemas.directory import Directory, Firm, Placement, fold_firm, fold_placement
from schemas.entries import fold_entry
from schemas.events import EntityKey
from schemas.facts import Cut, Fact
from schemas.periods import Month
from schemas.segments import split
from services.billing import store
from services.billing.books import BookEntry, FirmBooks, OtherSpan, Reference, RunCut
from services.billing.outlines import outline
from services.billing.overlaps import days, spans
from services.billing.plain import Sifted, sift, unsifted
from services.billing.reused import sharing_an_id
from services.directories import load_directory
from services.failures import Failure, attempt
from services.folding import load_facts
from services.postgres import Connection

SPLITTING_KINDS = {"firm", "placement"}


class UnknownFirm(LookupError):
    """The directory knew nothing of this firm at the cut."""


async def gather(
    conn: Connection, firm_id: str, period: Month, run_id: str, cut: Cut
) -> tuple[FirmBooks, Sifted]:
    """Read a firm's books inside a cut, of its entries those to be judged. Raises `UnknownFirm`.

    Entries with facts beyond the cut are folded again from the facts inside it, so a run that is
    replayed later reads the same.
    """
    instant = cut.instant
    assert instant is not None
    outside = await store.load_outside_cut(conn, firm_id, cut)
    directory = await _directory_inside(conn, firm_id, cut, outside)
    if directory.firm is None:
        raise UnknownFirm(firm_id)
    other_spans, other_days = await _elsewhere(conn, firm_id, cut, directory)
    books = FirmBooks(
        firm=directory.firm,
        period=period,
        run=RunCut(run_id, instant),
        today=await _reference(conn, firm_id, directory, instant),
        entries=(),
        approvals=await store.load_approvals(conn, firm_id, instant),
        issued=await store.load_issued(conn, firm_id, instant),
        settled=await _settled(conn, firm_id, directory, instant),
        other_spans=tuple(other_spans),
        other_days=other_days,
    )
    reused = await _reused(conn, firm_id, cut)
    if _is_moved(outside):
        entries = await store.load_entries(conn, firm_id)
        inside = await _as_cut(conn, entries, cut, outside, directory, reused)
        return replace(books, entries=tuple(inside.values())), unsifted(books)
    late = await _fold_late(conn, cut, outside, directory)
    outlines = await store.load_outlines(conn, firm_id)
    for entry_id, book in late.items():
        outlines.pop(entry_id, None)
        if (known := outline(book)) is not None:
            outlines[entry_id] = known
    unsure = {*late, *reused, *await store.load_failed(conn, firm_id)}
    # In a thread: the loop also serves, and reads the log.
    sifted = await asyncio.to_thread(sift, books, list(outlines.values()), unsure)
    entries = await store.load_entries(conn, firm_id, sifted.judged) | late
    marked = (replace(book, id_reused=book.entry_id in reused) for book in entries.values())
    return replace(books, entries=tuple(marked)), sifted


async def _settled(
    conn: Connection, firm_id: str, today: Directory, instant: datetime
) -> dict[Month, Reference]:
    """Read what each month that was settled up to an instant was settled by.

    Where a settled cut lies in a log that is gone, what its directory was cannot be told from the
    new log's positions: today's stands for it.
    """
    months = await store.load_settled(conn, firm_id, instant)
    facts = await _load_directory_facts(conn, firm_id) if months else {}
    return {
        month: await _reference(
            conn,
            firm_id,
            _fold_directory(facts, cut) if same else today,
            cut.instant or instant,
        )
        for month, cut, same in months
    }


async def _elsewhere(
    conn: Connection, firm_id: str, cut: Cut, directory: Directory
) -> tuple[list[OtherSpan], dict[tuple[str, date], int]]:
    """Read what the firm's assistants did for other firms inside the cut."""
    assistants = {p.assistant_id for p in directory.placements.values()}
    other_spans: list[OtherSpan] = []
    other_days: dict[tuple[str, date], int] = {}
    for other_id in await store.load_firms_of_assistants(conn, assistants, firm_id, cut):
        outside = await store.load_outside_cut(conn, other_id, cut)
        other = await _directory_inside(conn, other_id, cut, outside)
        shared_placements = {
            placement_id
            for placement_id, placement in other.placements.items()
            if placement.assistant_id in assistants
        }
        if other.firm is None or not shared_placements:
            continue
        entries = await store.load_entries_of_placements(conn, other_id, shared_placements)
        inside = await _as_cut(conn, entries, cut, outside, other, ())
        shared = [
            book
            for book in inside.values()
            if book.entry is not None and book.entry.placement_id in shared_placements
        ]
        other_spans += spans(shared, other.placements, other.firm.timezone)
        for day, seconds in days(shared).items():
            other_days[day] = other_days.get(day, 0) + seconds
    return other_spans, other_days


async def _reference(
    conn: Connection, firm_id: str, directory: Directory, instant: datetime
) -> Reference:
    return Reference(
        await store.load_rates(conn, firm_id, instant),
        directory.placements,
        await store.load_terms(conn, firm_id, instant),
    )


async def _directory_inside(
    conn: Connection, firm_id: str, cut: Cut, outside: Sequence[EntityKey]
) -> Directory:
    """Read a firm's directory as the cut shows it."""
    if _is_moved(outside):
        return _fold_directory(await _load_directory_facts(conn, firm_id), cut)
    return await load_directory(conn, firm_id)


async def _reused(conn: Connection, firm_id: str, cut: Cut) -> frozenset[str]:
    """Name the entries whose event ids stand under several, as the cut shows them."""
    sharing = await store.load_sharing_ids(conn, firm_id, cut)
    return sharing_an_id(await load_facts(conn, sharing), cut) if sharing else frozenset()


def _is_moved(outside: Sequence[EntityKey]) -> bool:
    """Say whether the directory is not as the cut shows it: then all entries are split again."""
    return any(key.kind in SPLITTING_KINDS for key in outside)


async def _as_cut(
    conn: Connection,
    entries: dict[str, BookEntry],
    cut: Cut,
    outside: Sequence[EntityKey],
    directory: Directory,
    reused: Collection[str],
) -> dict[str, BookEntry]:
    """Turn a firm's entries into what the cut shows, split by its directory inside the cut.

    With them come all that have facts beyond the cut.
    """
    late = await _fold_late(conn, cut, outside, directory)
    moved = _is_moved(outside)
    return {
        entry_id: BookEntry(
            entry_id,
            book.entry,
            split(book.entry, directory) if moved and book.entry else book.segments,
            book.failed,
            entry_id in reused,
        )
        for entry_id, book in (entries | late).items()
    }


async def _fold_late(
    conn: Connection, cut: Cut, outside: Sequence[EntityKey], directory: Directory
) -> dict[str, BookEntry]:
    """Fold again, from the facts inside a cut, the entries that have facts beyond it."""
    late = [key for key in outside if key.kind == "entry"]
    if not late:
        return {}
    facts = await load_facts(conn, late)
    return {key.entity_id: _fold(key, facts.get(key, ()), cut, directory) for key in late}


def _fold(key: EntityKey, facts: Sequence[Fact], cut: Cut, directory: Directory) -> BookEntry:
    entry = attempt(lambda: fold_entry(facts, cut))
    if isinstance(entry, Failure):
        return BookEntry(key.entity_id, None, failed=True)
    return BookEntry(key.entity_id, entry, split(entry, directory) if entry else ())


async def _load_directory_facts(conn: Connection, firm_id: str) -> Mapping[EntityKey, list[Fact]]:
    return await load_facts(conn, await store.load_directory_keys(conn, firm_id))


def _fold_directory(facts: Mapping[EntityKey, Sequence[Fact]], cut: Cut) -> Directory:
    """Fold the directory from the facts inside a cut."""
    firm: Firm | None = None
    placements: dict[str, Placement] = {}
    # A directory event is no report of what happened: its time does not put it beyond the instant.
    inside = Cut(cut.ends)
    for key, group in facts.items():
        if key.kind == "firm":
            firm = fold_firm(group, inside)
        elif (placement := fold_placement(group, inside)) is not None:
            placements[key.entity_id] = placement
    return Directory(firm, placements)
