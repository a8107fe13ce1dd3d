"""Gathering: everything about one firm inside a run's cut, read in one snapshot."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import partial

import asyncpg

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
from services.log_records import fact_of_row
from services.postgres import Connection
from services.pulse import Pulse

FACTS_MAX = 5_000  # held at once, while entries are folded again


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
    late = await _fold_late(conn, firm_id, cut, outside, directory)
    reused = await _reused(conn, firm_id, cut)
    if outside.directory:
        sifted, wanted = unsifted(books), await store.list_entries(conn, firm_id)
    else:
        sifted = await _sift(conn, books, late, reused)
        wanted = set(sifted.judged)
    entries = await _as_cut(conn, firm_id, wanted, late, directory, again=outside.directory)
    marked = (replace(book, id_reused=book.entry_id in reused) for book in entries.values())
    return replace(books, entries=tuple(marked)), sifted


async def _sift(
    conn: Connection, books: FirmBooks, late: Mapping[str, BookEntry], reused: Collection[str]
) -> Sifted:
    """Tell plain entries from those to be judged; of `late` ones the cut shows what is told."""
    firm_id = books.firm.firm_id
    outlines = await store.load_outlines(conn, firm_id)
    unsure = {*reused, *(await store.load_failed(conn, firm_id) - late.keys())}
    for entry_id, book in late.items():
        outlines.pop(entry_id, None)
        if (known := outline(book)) is not None:
            outlines[entry_id] = known
        if book.failed:
            unsure.add(entry_id)
    return await Pulse(conn).aside(partial(sift, books, list(outlines.values()), unsure))


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
        late = await _fold_late(conn, other_id, cut, outside, other)
        wanted = await store.list_entries_of_placements(conn, other_id, shared_placements)
        inside = await _as_cut(
            conn, other_id, wanted | late.keys(), late, other, again=outside.directory
        )
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
    conn: Connection, firm_id: str, cut: Cut, outside: store.Outside
) -> Directory:
    """Read a firm's directory as the cut shows it."""
    if outside.directory:
        return _fold_directory(await _load_directory_facts(conn, firm_id), cut)
    return await load_directory(conn, firm_id)


async def _reused(conn: Connection, firm_id: str, cut: Cut) -> frozenset[str]:
    """Name the entries whose event ids stand under several, as the cut shows them."""
    sharing = await store.load_sharing_ids(conn, firm_id, cut)
    return sharing_an_id(await load_facts(conn, sharing), cut) if sharing else frozenset()


async def _as_cut(
    conn: Connection,
    firm_id: str,
    wanted: Collection[str],
    late: Mapping[str, BookEntry],
    directory: Directory,
    *,
    again: bool,
) -> dict[str, BookEntry]:
    """Read some of a firm's entries as the cut shows them, the late ones as they were folded.

    `again`: they are split again, for the directory inside the cut is another than today's.
    """
    stored = await store.load_entries(conn, firm_id, [name for name in wanted if name not in late])
    if again:
        stored = await Pulse(conn).aside(partial(_split_again, stored, directory))
    return stored | {name: late[name] for name in wanted if name in late}


def _split_again(books: Mapping[str, BookEntry], directory: Directory) -> dict[str, BookEntry]:
    return {
        name: replace(book, segments=split(book.entry, directory)) if book.entry else book
        for name, book in books.items()
    }


async def _fold_late(
    conn: Connection, firm_id: str, cut: Cut, outside: store.Outside, directory: Directory
) -> dict[str, BookEntry]:
    """Fold again, from the facts inside a cut, the entries that do not stand as it shows them.

    Of one without such facts, as all that came since have none, nothing stands.
    """
    late = {entry_id: BookEntry(entry_id, None) for entry_id in outside.entries}
    pulse = Pulse(conn)
    for entry_ids in _slices(outside.entries):
        rows = await store.load_facts_inside(conn, firm_id, entry_ids, cut)
        late |= await pulse.aside(partial(_fold_all, rows, directory))
    return late


def _slices(facts: Mapping[str, int]) -> Iterator[list[str]]:
    """Part the entries that have facts where those to be held at once would be too many."""
    some: list[str] = []
    held = 0
    for entry_id, count in facts.items():
        if count == 0:
            continue
        if some and held + count > FACTS_MAX:
            yield some
            some, held = [], 0
        some.append(entry_id)
        held += count
    if some:
        yield some


def _fold_all(
    rows: Mapping[str, Sequence[asyncpg.Record]], directory: Directory
) -> dict[str, BookEntry]:
    return {entry_id: _fold(entry_id, found, directory) for entry_id, found in rows.items()}


def _fold(entry_id: str, rows: Sequence[asyncpg.Record], directory: Directory) -> BookEntry:
    entry = attempt(lambda: fold_entry(map(fact_of_row, rows)))
    if isinstance(entry, Failure):
        return BookEntry(entry_id, None, failed=True)
    return BookEntry(entry_id, entry, split(entry, directory) if entry else ())


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
