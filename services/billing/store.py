"""All SQL of billing, one function a statement: rows in and out as the values of `books`."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
from pydantic import TypeAdapter

from schemas.entries import Entry
from schemas.events import EntityKey
from schemas.facts import Cut
from schemas.periods import Month
from schemas.segments import Segment
from services.billing.books import BookEntry, Document, Draft, Increment, IssuedLine, Rate, Terms
from services.billing.invoices import content, issued_lines, read_document
from services.billing.outlines import Outline, outline
from services.postgres import Connection
from services.pulse import Pulse
from services.sql import queries
from services.states import hash_states

SQL = queries(Path(__file__).with_name("queries.sql"))
ENTRIES_MAX = 2_000  # read in one piece
SPLITTING_KINDS = {"firm", "placement"}
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)
_SEGMENTS: TypeAdapter[tuple[Segment, ...]] = TypeAdapter(tuple[Segment, ...])


# Entries


async def save_entries(
    conn: Connection, saved: Sequence[tuple[EntityKey, BookEntry | None]]
) -> None:
    """Write folded entries, and remove those of which nothing stands."""
    gone = [key for key, book in saved if book is None]
    if gone:
        await conn.execute(
            SQL.remove_entries, [key.firm_id for key in gone], [key.entity_id for key in gone]
        )
    kept = [
        (key, book, book.entry, known)
        for key, book in saved
        if book is not None and book.entry and (known := outline(book))
    ]
    if not kept:
        return
    await conn.execute(
        SQL.save_entries,
        [key.firm_id for key, *_ in kept],
        [key.entity_id for key, *_ in kept],
        [known.placement_id for *_, known in kept],
        [next((s.assistant_id for s in book.segments), None) for _, book, *_ in kept],
        [_ENTRY.dump_json(entry).decode() for *_, entry, _ in kept],
        [_SEGMENTS.dump_json(book.segments).decode() for _, book, *_ in kept],
        [known.version for *_, known in kept],
        [entry.started_at for *_, entry, _ in kept],
        [entry.ended_at for *_, entry, _ in kept],
        [known.seconds for *_, known in kept],
        [known.service_date for *_, known in kept],
        [known.work for *_, known in kept],
    )


async def load_entries(
    conn: Connection, firm_id: str, entry_ids: Collection[str]
) -> dict[str, BookEntry]:
    """Load some of a firm's entries as folded of all that has come, by id."""
    books: dict[str, BookEntry] = {}
    wanted, pulse = sorted(entry_ids), Pulse(conn)
    for start in range(0, len(wanted), ENTRIES_MAX):
        some = wanted[start : start + ENTRIES_MAX]
        rows = await conn.fetch(SQL.load_entries, firm_id, some)
        books |= await pulse.aside(partial(_books, rows))
    return books


async def list_entries(conn: Connection, firm_id: str) -> set[str]:
    """List the ids of a firm's entries."""
    return {row["entity_id"] for row in await conn.fetch(SQL.list_entries, firm_id)}


async def list_entries_of_placements(
    conn: Connection, firm_id: str, placement_ids: Collection[str]
) -> set[str]:
    """List the ids of a firm's entries of some placements, those of which something stands."""
    rows = await conn.fetch(SQL.list_entries_of_placements, firm_id, sorted(placement_ids))
    return {row["entry_id"] for row in rows}


async def load_outlines(conn: Connection, firm_id: str) -> dict[str, Outline]:
    """Load the outlines of a firm's entries as folded of all that has come, by id."""
    return {row[0]: Outline(*row) for row in await conn.fetch(SQL.load_outlines, firm_id)}


async def list_timesheet(
    conn: Connection, firm_id: str, since: date, until: date, after: tuple[date, str], limit: int
) -> list[asyncpg.Record]:
    """List some of a firm's entries of [since, until] that come after a service date and an id."""
    return await conn.fetch(SQL.list_timesheet, firm_id, since, until, *after, limit)


async def list_versions(
    conn: Connection, firm_id: str, since: date, until: date
) -> set[tuple[str, str]]:
    """List a firm's entries of [since, until], each with the version that stands."""
    return {(row[0], row[1]) for row in await conn.fetch(SQL.list_versions, firm_id, since, until)}


async def load_failed(conn: Connection, firm_id: str) -> set[str]:
    """List a firm's entries whose fold failed."""
    return {row["entity_id"] for row in await conn.fetch(SQL.load_failed, firm_id)}


async def load_firms_of_assistants(
    conn: Connection, assistant_ids: Collection[str], not_firm_id: str, cut: Cut
) -> list[str]:
    """List other firms at which some assistants are placed, or may be as the cut shows it."""
    rows = await conn.fetch(
        SQL.load_firms_of_assistants, sorted(assistant_ids), not_firm_id, *_ends_columns(cut.ends)
    )
    return [row["firm_id"] for row in rows]


def _books(rows: Iterable[asyncpg.Record]) -> dict[str, BookEntry]:
    return {row["entry_id"]: _book(*row.values()) for row in rows}


def _book(entry_id: str, failed: str | None, state: str | None, segments: str | None) -> BookEntry:
    if state is None or segments is None:
        return BookEntry(entry_id, None, failed=failed is not None)
    entry = _ENTRY.validate_json(state)
    return BookEntry(entry_id, entry, _SEGMENTS.validate_json(segments), failed is not None)


class Coverage(NamedTuple):
    """Whether what is applied reaches some log ends, and is of the same logs."""

    reached: bool
    same: bool


async def load_coverage(
    conn: Connection, ends: Mapping[tuple[str, int], int], topic_ids: Mapping[str, UUID]
) -> Coverage:
    """Compare what is applied with a cut's log ends; first in a transaction, it bars a rebuild.

    Entities that wait to be folded again are not looked at: whoever reads inside a cut folds them.
    """
    ids = [topic_ids.get(topic) for topic, _ in sorted(ends)]
    row = await conn.fetchrow(SQL.load_coverage, *_ends_columns(ends), ids)
    assert row is not None
    return Coverage(row["reached"], row["same"])


class Outside(NamedTuple):
    """What of a firm does not stand as a cut shows it.

    directory  whether the firm or a placement of it does not
    entries    by the id of each entry that does not, how many of its facts the cut shows
    """

    directory: bool
    entries: dict[str, int]


async def load_outside_cut(conn: Connection, firm_id: str, cut: Cut) -> Outside:
    """Tell what of a firm does not stand as a cut shows it."""
    rows = await conn.fetch(SQL.load_outside_cut, firm_id, *_ends_columns(cut.ends), cut.instant)
    return Outside(
        any(row["kind"] in SPLITTING_KINDS for row in rows),
        {row["entity_id"]: row["facts"] for row in rows if row["kind"] == "entry"},
    )


async def load_facts_inside(
    conn: Connection, firm_id: str, entry_ids: Collection[str], cut: Cut
) -> dict[str, list[asyncpg.Record]]:
    """Load the facts of some entries that a cut shows, for `fact_of_row`, by entry."""
    found: dict[str, list[asyncpg.Record]] = {}
    for row in await conn.fetch(
        SQL.load_facts_inside, firm_id, *_ends_columns(cut.ends), cut.instant, sorted(entry_ids)
    ):
        found.setdefault(row["entity_id"], []).append(row)
    return found


def _ends_columns(
    ends: Mapping[tuple[str, int], int],
) -> tuple[list[str], list[int], list[int]]:
    places = sorted(ends)
    return (
        [topic for topic, _ in places],
        [partition for _, partition in places],
        [ends[place] for place in places],
    )


async def load_directory_keys(conn: Connection, firm_id: str) -> list[EntityKey]:
    """List the directory's entities of a firm: itself and its placements."""
    rows = await conn.fetch(SQL.load_directory_keys, firm_id)
    return [EntityKey(firm_id, row["kind"], row["entity_id"]) for row in rows]


async def load_sharing_ids(conn: Connection, firm_id: str, cut: Cut) -> list[EntityKey]:
    """List entries whose event id came under another entry too, inside a cut, retracted or not."""
    rows = await conn.fetch(SQL.load_sharing_ids, firm_id, *_ends_columns(cut.ends), cut.instant)
    return [EntityKey(firm_id, "entry", row["entity_id"]) for row in rows]


async def load_facts_of_entries(
    conn: Connection, firm_id: str, entry_ids: Collection[str]
) -> dict[str, list[dict[str, Any]]]:
    """List where the facts of some entries lie in the log, by entry."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in await conn.fetch(SQL.load_facts_of_entries, firm_id, sorted(entry_ids)):
        fact = dict(row)
        found.setdefault(fact.pop("entity_id"), []).append(fact)
    return found


# Reference data and decisions


async def stamp_decision(conn: Connection) -> datetime:
    """Give a decision its instant, to be called when it holds whatever else it waits for.

    Until it commits no run can pin a cut: so none that could have counted is missed.
    """
    await conn.execute(SQL.share_decisions)
    return await read_clock(conn)


async def read_clock(conn: Connection) -> datetime:
    """Read the database's clock: that of all decisions and cuts."""
    now: datetime = await conn.fetchval(SQL.read_clock)
    return now


async def load_rates(conn: Connection, firm_id: str, instant: datetime) -> tuple[Rate, ...]:
    """Load the card as it stood at an instant."""
    return tuple(_rate(row) for row in await conn.fetch(SQL.load_rates, firm_id, instant))


async def list_rates(conn: Connection) -> tuple[Rate, ...]:
    """Load the card in force now."""
    return tuple(_rate(row) for row in await conn.fetch(SQL.list_rates))


def _rate(row: asyncpg.Record) -> Rate:
    return Rate(
        rate_id=row["rate_id"],
        currency=row["currency"],
        rate_e4=row["rate_e4"],
        valid_from=row["valid_from"],
        valid_to=row["valid_to"],
        firm_id=row["firm_id"],
        placement_id=row["placement_id"],
        country=row["country"],
        role=row["role"],
        phase=row["phase"],
    )


async def set_rate(conn: Connection, rate: Rate, *, actor: str, new_id: Callable[[], str]) -> None:
    """Put a rate on the card; what it overlaps keeps the dates before and after it.

    `new_id` makes ids for the versions that keep those dates.
    """
    key = (rate.firm_id, rate.placement_id, rate.country, rate.role, rate.phase)
    await conn.execute(SQL.share_decisions)
    await conn.execute(SQL.lock_card, "/".join(key))
    now = await stamp_decision(conn)
    replaced = await conn.fetch(SQL.supersede_rates, *key, rate.valid_from, rate.valid_to, now)
    pieces = [rate]
    for old in map(_rate, replaced):
        if old.valid_from < rate.valid_from:
            pieces.append(replace(old, rate_id=new_id(), valid_to=rate.valid_from))
        if rate.valid_to and (old.valid_to is None or old.valid_to > rate.valid_to):
            pieces.append(replace(old, rate_id=new_id(), valid_from=rate.valid_to))
    for piece in pieces:
        await conn.execute(
            SQL.append_rate, piece.firm_id, piece.rate_id, piece.placement_id, piece.country,
            piece.role, piece.phase, piece.currency, piece.rate_e4, piece.valid_from,
            piece.valid_to, actor, now,
        )  # fmt: skip


async def load_terms(conn: Connection, firm_id: str, instant: datetime) -> tuple[Terms, ...]:
    """Load all versions of a firm's terms up to an instant."""
    return tuple(
        Terms(
            terms_id=f"{firm_id}.{row['version']}",
            version=row["version"],
            effective_month=Month.of(row["effective_month"]),
            approval=row["approval"],
            increment=Increment(row["increment_minutes"], row["direction"]),
            excluded_kinds=frozenset(row["excluded_kinds"]),
            excluded_phases=frozenset(row["excluded_phases"]),
        )
        for row in await conn.fetch(SQL.load_terms, firm_id, instant)
    )


async def append_terms(conn: Connection, firm_id: str, terms: Terms, *, actor: str) -> int:
    """Add the next version of a firm's terms and return its number."""
    await conn.execute(SQL.share_decisions)
    await conn.execute(SQL.lock_terms, firm_id)
    now = await stamp_decision(conn)
    version: int = await conn.fetchval(
        SQL.append_terms, firm_id, terms.effective_month.first_date, terms.approval,
        terms.increment.minutes, terms.increment.direction, sorted(terms.excluded_kinds),
        sorted(terms.excluded_phases), actor, now,
    )  # fmt: skip
    return version


async def load_approvals(
    conn: Connection, firm_id: str, instant: datetime
) -> frozenset[tuple[str, str]]:
    """Load the (entry, version) pairs that were approved up to an instant."""
    rows = await conn.fetch(SQL.load_approvals, firm_id, instant)
    return frozenset((row["entry_id"], row["version"]) for row in rows)


async def append_approvals(
    conn: Connection, firm_id: str, pairs: Sequence[tuple[str, str]], *, actor: str
) -> None:
    """Add approvals of entry versions."""
    now = await stamp_decision(conn)
    await conn.execute(
        SQL.append_approvals, firm_id, [e for e, _ in pairs], [v for _, v in pairs], actor, now
    )


# Invoices


async def load_issued(
    conn: Connection, firm_id: str, until: datetime | None = None
) -> tuple[IssuedLine, ...]:
    """Load the lines of a firm's documents that were issued up to an instant, or of all."""
    return tuple(
        line for doc in await load_documents(conn, firm_id, until) for line in issued_lines(doc)
    )


async def load_documents(
    conn: Connection, firm_id: str, until: datetime | None = None, before: date | None = None
) -> list[Document]:
    """Load a firm's documents, the oldest period first: those issued up to an instant, or all.

    `before`: of the periods before one only.
    """
    rows = await conn.fetch(SQL.load_issued, firm_id, until, before)
    return [_document(row["body"]) for row in rows]


async def load_chain(conn: Connection, series: str) -> list[Document]:
    """Load the documents of a series in the order of their numbers."""
    return [_document(row["body"]) for row in await conn.fetch(SQL.load_chain, series)]


def _document(body: bytes) -> Document:
    document = read_document(body)
    assert isinstance(document, Document), document
    return document


class Settled(NamedTuple):
    """A settled month, with the cut of the run that settled it; `same`: of the logs read now."""

    month: Month
    cut: Cut
    same: bool


async def load_settled(conn: Connection, firm_id: str, instant: datetime) -> list[Settled]:
    """Load the months settled up to an instant."""
    rows = await conn.fetch(SQL.load_settled, firm_id, instant)
    return [
        Settled(Month.of(row["period"]), cut_of(row["ends"], row["instant"]), row["same"])
        for row in rows
    ]


def cut_of(ends: str, instant: datetime) -> Cut:
    """Read a stored cut."""
    return Cut({(topic, part): end for topic, part, end in json.loads(ends)}, instant)


def ends_json(ends: Mapping[tuple[str, int], int]) -> str:
    """Write a cut's ends."""
    return json.dumps([[topic, part, end] for (topic, part), end in sorted(ends.items())])


def topic_ids_of(stored: str | None) -> dict[str, UUID]:
    """Read the topic ids that a run pinned; one of before they were pinned has none."""
    return {topic: UUID(text) for topic, text in json.loads(stored or "{}").items()}


async def load_pinned_ends(
    conn: Connection, topic_ids: Mapping[str, str], since: datetime
) -> dict[tuple[str, int], int]:
    """Load the ends of topics of these ids that the last run since an instant pinned.

    They are told by (topic, partition).
    """
    rows = await conn.fetch(SQL.load_pinned_ends, json.dumps(topic_ids), since)
    return {(row["topic"], row["partition"]): row["end"] for row in rows}


async def load_heads(conn: Connection) -> dict[str, tuple[int, str | None]]:
    """Load the last number of each series, and that document's hash."""
    return {r["series"]: (r["last"], r["head"]) for r in await conn.fetch(SQL.load_heads)}


async def heads_stand(conn: Connection, stored: str | None) -> bool:
    """Say whether the series still hold what a run saw at their heads when it pinned them."""
    heads = {series: tuple(head) for series, head in json.loads(stored or "{}").items()}
    rows = await conn.fetch(
        SQL.load_numbered, sorted(heads), [last for _, (last, _) in sorted(heads.items())]
    )
    return {row["series"]: (row["number"], row["sha256"]) for row in rows} == heads


async def list_firms(conn: Connection, ends: Mapping[tuple[str, int], int]) -> list[str]:
    """List the firms that were registered inside a cut."""
    rows = await conn.fetch(SQL.list_firms, *_ends_columns(ends))
    return [row["firm_id"] for row in rows]


async def append_draft(conn: Connection, draft: Draft, invoice_id: str) -> None:
    """Add a draft where none is open."""
    await conn.execute(
        SQL.append_draft, draft.firm.firm_id, invoice_id, draft.period.first_date,
        draft.run.run_id, draft.firm.currency, draft.total_minor, content(draft),
        draft.issued_digest, json.dumps([blocked._asdict() for blocked in draft.blocked]),
    )  # fmt: skip


async def issue_document(
    conn: Connection, firm_id: str, invoice_id: str, document: Document, number: int
) -> None:
    """Freeze an approved draft under its number, and move the series on."""
    await conn.execute(
        SQL.issue_invoice, firm_id, invoice_id, document.number, document.series,
        document.predecessor, document.content_sha256, document.sha256, document.body,
    )  # fmt: skip
    await conn.execute(SQL.append_number, document.series, number, invoice_id, document.sha256)
    await conn.execute(SQL.set_head, document.series, document.sha256)


async def take_number(conn: Connection, series: str) -> tuple[int, str | None]:
    """Take the next number of a series, and the hash of its last document."""
    await conn.execute(SQL.lock_series, series)
    await conn.execute(SQL.ensure_series, series)
    row = await conn.fetchrow(SQL.take_number, series)
    assert row is not None
    return row["last"], row["head"]


async def settle(
    conn: Connection, firm_id: str, period: date, run_id: str, invoice_id: str | None, *,
    actor: str,
) -> None:  # fmt: skip
    """Close a month of a firm; what else was drafted of it is over."""
    now = await stamp_decision(conn)
    await conn.execute(SQL.append_settlement, firm_id, period, run_id, invoice_id, actor, now)
    await conn.execute(SQL.supersede_unissued, firm_id, period)


# Proving


async def state_hash(conn: Connection) -> str:
    """Hash all state that comes from the log: equal logs give equal hashes, however they came.

    Positions, row versions and the time of storing are not state; decisions and invoices are not
    derived. Runs as the writer.
    """
    return await hash_states(
        conn, SQL, ("load_entry_states", "load_failed_entries", "load_directory_states")
    )
