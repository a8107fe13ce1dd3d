"""One poll, one transaction: the fence, the facts, then every touched entity folded from empty.

The order of the steps is what makes it exact (see docs/decisions/0001): the offset is advanced
first, so a second owner finds no row; row versions are read before the facts, so a fold that missed
a fact cannot be saved; firms and placements are locked in share before their timelines are read, so
no fold commits against a timeline that was just replaced.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import structlog
from aiokafka import ConsumerRecord
from prometheus_client import Counter

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
from schemas.envelope import Unreadable, read_fact
from schemas.events import TOPIC_OF_KIND, EntityKey, Kind, PlacementData
from schemas.facts import Fact, Position
from services.log_reader import Batch, Discontinuity, Fenced, LogState, read_log, wait_or_stop
from services.postgres import Connection, House, connect
from services.settings import Settings
from services.sql import queries

DIRECTORY_KINDS: Final = frozenset({"firm", "placement", "assistant"})
REFOLD_SLICE = 500
REFOLD_SECONDS = 0.5
CONTEST_ROUNDS_MAX = 20
HEADERS = ("received_at", "principal")

SQL = queries(Path(__file__).with_name("folding.sql"))
_log = structlog.get_logger(__name__)
_read = Counter("turnsheet_records_read", "Records read from the log", ["house", "topic"])
_parked = Counter("turnsheet_records_quarantined", "Records that could not be read", ["house"])
_failed = Counter("turnsheet_folds_failed", "Entities whose fold failed", ["house"])

QUARANTINE_COLUMNS = (
    "topic", "partition", "offset", "code", "pointer", "key", "body", "headers",
)  # fmt: skip

Saved = tuple[EntityKey, Any]


@dataclass(frozen=True)
class Reading:
    """What a house brings to the transaction.

    `fold` is pure and returns the entity's state, None when nothing of it stands; `save` writes
    states into the house's own tables and removes what is None, whole sets at a time.
    """

    house: House
    topics: tuple[str, ...]
    kinds: frozenset[Kind]
    fold: Callable[[EntityKey, Sequence[Fact], Directory], Any]
    save: Callable[[Connection, Sequence[Saved]], Awaitable[None]]


class Parked(NamedTuple):
    """A record that cannot be read, and why."""

    record: ConsumerRecord
    code: str
    pointer: str


# Reading records


def read_record(record: ConsumerRecord) -> Fact | Parked:
    """Read a record as a fact, or say why it is parked."""
    headers = dict(record.headers)
    try:
        received_at = datetime.fromisoformat(headers["received_at"].decode())
        principal = headers["principal"].decode()
    except (KeyError, ValueError):
        return Parked(record, "headers", "")
    if received_at.tzinfo is None or record.value is None:
        return Parked(record, "headers" if record.value else "no_value", "")
    position = Position(record.topic, record.partition, record.offset)
    try:
        fact = read_fact(
            record.value, received_at=received_at, principal=principal, position=position
        )
    except Unreadable as error:
        return Parked(record, error.refusal.code, error.refusal.pointer)
    if record.key != fact.entity.firm_id.encode():
        return Parked(record, "wrong_key", "/data/firm_id")
    if not record.topic.endswith(TOPIC_OF_KIND[fact.entity.kind]):
        return Parked(record, "wrong_topic", "/type")
    return fact


def _fact_row(fact: Fact, body: bytes) -> tuple[Any, ...]:
    placement_id = fact.data.placement_id if isinstance(fact.data, PlacementData) else None
    return (
        fact.entity.firm_id, *fact.position, fact.entity.kind, fact.entity.entity_id, placement_id,
        fact.source, fact.id, fact.type, fact.time, fact.received_at, fact.principal,
        fact.content_hash, body,
    )  # fmt: skip


def _parked_row(parked: Parked) -> tuple[Any, ...]:
    record = parked.record
    headers = json.dumps({name: value.decode(errors="replace") for name, value in record.headers})
    return (
        record.topic, record.partition, record.offset, parked.code, parked.pointer, record.key,
        record.value or b"", headers.replace("\\u0000", ""),
    )  # fmt: skip


def fact_of_row(row: asyncpg.Record) -> Fact:
    """Read a stored fact again: the log's bytes are what is kept of it."""
    return read_fact(
        row["body"],
        received_at=row["received_at"],
        principal=row["principal"],
        position=Position(row["topic"], row["partition"], row["offset"]),
    )


# The transaction


async def place(conn: Connection, topic: str, partition: int, state: LogState) -> int:
    """Return where to read on. Raises `Discontinuity` when the log is not the one we know."""
    if await conn.fetchrow(SQL.load_offset, topic, partition) is None:
        if state.begin != 0:
            raise Discontinuity(f"the log begins at {state.begin}: its first records are gone")
        await conn.execute(SQL.insert_offset, topic, partition, state.topic_id, 0)
    row = await conn.fetchrow(SQL.load_offset, topic, partition)
    if row is None:
        raise Discontinuity("the offset table was emptied meanwhile")
    if row["topic_id"] != state.topic_id:
        raise Discontinuity("the topic was deleted and made again")
    offset: int = row["next"]
    if not state.begin <= offset <= state.end:
        raise Discontinuity(f"next is {offset}, the log holds {state.begin} to {state.end}")
    return offset


async def apply(conn: Connection, reading: Reading, batch: Batch) -> None:
    """Apply a batch with its offset in one transaction. Raises `Fenced`."""
    facts: list[Fact] = []
    rows: list[tuple[Any, ...]] = []
    parked: list[Parked] = []
    for record in batch.records:
        read = read_record(record)
        if isinstance(read, Parked):
            parked.append(read)
        elif read.entity.kind in reading.kinds | DIRECTORY_KINDS:
            facts.append(read)
            rows.append(_fact_row(read, record.value))
    async with conn.transaction():
        moved = await conn.fetchval(
            SQL.advance, batch.topic, batch.partition, batch.first, batch.next
        )
        if moved is None:
            raise Fenced
        if rows:
            await conn.execute(SQL.insert_facts, *map(list, zip(*rows, strict=True)))
        if parked:
            await conn.copy_records_to_table(
                "quarantine", records=[_parked_row(p) for p in parked], columns=QUARANTINE_COLUMNS
            )
        touched = {fact.entity for fact in facts}
        await fold_directory(conn, {key for key in touched if key.kind in DIRECTORY_KINDS})
        await fold_entities(conn, reading, {k for k in touched if k.kind not in DIRECTORY_KINDS})
    _read.labels(reading.house, batch.topic).inc(len(batch.records))
    if parked:
        _parked.labels(reading.house).inc(len(parked))
        _log.error("records_quarantined", house=reading.house, topic=batch.topic,
                   codes=sorted({p.code for p in parked}))  # fmt: skip


def _columns(keys: Iterable[EntityKey]) -> tuple[list[str], list[str], list[str]]:
    found = list(keys)
    return [k.firm_id for k in found], [k.kind for k in found], [k.entity_id for k in found]


async def load_facts(conn: Connection, keys: Iterable[EntityKey]) -> dict[EntityKey, list[Fact]]:
    """Load all facts of some entities, in no particular order."""
    facts: dict[EntityKey, list[Fact]] = {}
    for row in await conn.fetch(SQL.load_facts, *_columns(keys)):
        key = EntityKey(row["firm_id"], row["kind"], row["entity_id"])
        facts.setdefault(key, []).append(fact_of_row(row))
    return facts


async def fold_entities(conn: Connection, reading: Reading, keys: Iterable[EntityKey]) -> None:
    """Fold entities from empty and save them; those that somebody else saved meanwhile again."""
    pending = sorted(set(keys))
    for _ in range(CONTEST_ROUNDS_MAX):
        if not pending:
            return
        versions = {
            EntityKey(row["firm_id"], row["kind"], row["entity_id"]): row["row_version"]
            for row in await conn.fetch(SQL.load_versions, *_columns(pending))
        }
        facts = await load_facts(conn, pending)
        directories = await load_directories(conn, facts)
        states: dict[EntityKey, Any] = {}
        failed: dict[EntityKey, str] = {}
        for key in pending:
            try:
                states[key] = reading.fold(key, facts.get(key, []), directories[key.firm_id])
            except Exception as error:  # noqa: BLE001 (the one place: it costs one entity only)
                failed[key] = type(error).__name__
                _failed.labels(reading.house).inc()
                _log.exception("fold_failed", house=reading.house, kind=key.kind, id=key.entity_id)
        saved = {
            EntityKey(row["firm_id"], row["kind"], row["entity_id"])
            for row in await conn.fetch(
                SQL.save_entities,
                *_columns(pending),
                [versions.get(key, 0) for key in pending],
                [failed.get(key) for key in pending],
            )
        }
        await reading.save(
            conn, [(key, states[key]) for key in pending if key in saved & set(states)]
        )
        pending = [key for key in pending if key not in saved]
    raise asyncpg.SerializationError(f"{len(pending)} entities stayed contested")


async def load_directories(
    conn: Connection, facts: Mapping[EntityKey, Sequence[Fact]]
) -> "dict[str, Directory]":
    """Lock in share the firms and placements that facts name, then read their timelines."""
    firm_ids = sorted({key.firm_id for key in facts})
    named = sorted(
        {
            (fact.entity.firm_id, fact.data.placement_id)
            for group in facts.values()
            for fact in group
            if isinstance(fact.data, PlacementData)
        }
    )
    pairs = [firm_id for firm_id, _ in named], [placement_id for _, placement_id in named]
    await conn.execute(SQL.insert_firm_stubs, firm_ids)
    await conn.execute(SQL.insert_placement_stubs, *pairs)
    await conn.execute(SQL.lock_firms_share, firm_ids)
    await conn.execute(SQL.lock_placements_share, *pairs)
    firms: dict[str, Firm] = {
        row["firm_id"]: FIRM.validate_json(row["state"])
        for row in await conn.fetch(SQL.load_firms, firm_ids)
    }
    placements: dict[str, dict[str, Placement]] = {firm_id: {} for firm_id in firm_ids}
    for row in await conn.fetch(SQL.load_placements, *pairs):
        placement = PLACEMENT.validate_json(row["state"])
        placements[row["firm_id"]][row["placement_id"]] = placement
    return _Directories(
        {firm_id: Directory(firms.get(firm_id), placements[firm_id]) for firm_id in firm_ids}
    )


class _Directories(dict[str, Directory]):
    """An entity without any fact is folded against an empty directory."""

    def __missing__(self, firm_id: str) -> Directory:
        return Directory(None, {})


async def fold_directory(conn: Connection, keys: Iterable[EntityKey]) -> None:
    """Fold firms, placements and assistants, and queue what they touch to be folded again."""
    pending = sorted(set(keys))
    if not pending:
        return
    firms = [key for key in pending if key.kind == "firm"]
    placements = [key for key in pending if key.kind == "placement"]
    assistants = [key for key in pending if key.kind == "assistant"]
    firm_ids = [key.firm_id for key in firms]
    pairs = [key.firm_id for key in placements], [key.entity_id for key in placements]
    assistant_ids = [key.entity_id for key in assistants]
    await conn.execute(SQL.insert_firm_stubs, firm_ids)
    await conn.execute(SQL.insert_placement_stubs, *pairs)
    await conn.execute(SQL.insert_assistant_stubs, assistant_ids)
    await conn.execute(SQL.lock_firms, firm_ids)
    await conn.execute(SQL.lock_placements, *pairs)
    await conn.execute(SQL.lock_assistants, assistant_ids)
    facts = await load_facts(conn, pending)
    firm_states = [_json(FIRM, fold_firm(facts.get(key, []))) for key in firms]
    placement_states = [_json(PLACEMENT, fold_placement(facts.get(key, []))) for key in placements]
    assistant_states = [_json(ASSISTANT, fold_assistant(facts.get(key, []))) for key in assistants]
    await conn.execute(SQL.save_firms, firm_ids, firm_states)
    await conn.execute(SQL.save_placements, *pairs, placement_states)
    await conn.execute(SQL.save_assistants, assistant_ids, assistant_states)
    await conn.execute(SQL.queue_of_placements, *pairs)
    await conn.execute(SQL.queue_of_firms, firm_ids)


def _json(adapter: Any, state: Any) -> str | None:
    return None if state is None else adapter.dump_json(state).decode()


async def drain_refolds(conn: Connection, reading: Reading) -> int:
    """Fold a slice of the queue again; return how many rows it took, 0 when it is empty."""
    async with conn.transaction():
        rows = await conn.fetch(SQL.claim_refolds, REFOLD_SLICE)
        keys = {EntityKey(row["firm_id"], row["kind"], row["entity_id"]) for row in rows}
        await fold_entities(conn, reading, {key for key in keys if key.kind in reading.kinds})
    return len(rows)


# Running


class Applying:
    """A dedicated connection that comes back after the database was away."""

    def __init__(self, settings: Settings, reading: Reading) -> None:
        self._settings = settings
        self._reading = reading
        self._conn: Connection | None = None

    async def place(self, topic: str, partition: int, state: LogState) -> int:
        """Return where to read on; see `place`."""
        return await place(await self._connection(), topic, partition, state)

    async def apply(self, batch: Batch) -> None:
        """Apply a batch, then at once what it queued."""
        conn = await self._connection()
        await apply(conn, self._reading, batch)
        if batch.topic.endswith("directory"):
            await self.drain()

    async def offsets(self) -> Mapping[tuple[str, int], int]:
        """Return the next offset of every partition."""
        return await load_offsets(await self._connection())

    async def drain(self) -> None:
        """Empty the refold queue."""
        conn = await self._connection()
        while await drain_refolds(conn, self._reading):
            pass

    async def close(self) -> None:
        """Close the connection."""
        if self._conn is not None:
            await self._conn.close(timeout=2)
            self._conn = None

    async def _connection(self) -> Connection:
        if self._conn is None or self._conn.is_closed():
            self._conn = await connect(self._settings, self._reading.house, "writer")
        return self._conn


async def consume(settings: Settings, reading: Reading, stop: asyncio.Event) -> None:
    """Read the log into a house's tables until told to stop."""
    reader, drainer = Applying(settings, reading), Applying(settings, reading)
    topics = [settings.topic(name) for name in reading.topics]
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(read_log(settings, reading.house, topics, reader, stop))
            group.create_task(_drain_until(drainer, reading, stop))
    finally:
        await reader.close()
        await drainer.close()


async def _drain_until(drainer: Applying, reading: Reading, stop: asyncio.Event) -> None:
    """Fold what a killed process left in the queue, or another one put there."""
    while not stop.is_set():
        try:
            await drainer.drain()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            _log.warning("drain_failed", house=reading.house, error=type(error).__name__)
        await wait_or_stop(stop, REFOLD_SECONDS)


async def caught_up(conn: Connection, ends: Mapping[tuple[str, int], int]) -> bool:
    """Say whether everything before these log ends is applied and refolded."""
    offsets = await load_offsets(conn)
    if any(offsets.get(place, 0) < end for place, end in ends.items()):
        return False
    return bool(await conn.fetchval(SQL.count_refolds) == 0)


async def load_offsets(conn: Connection) -> dict[tuple[str, int], int]:
    """Return the next offset of every partition that has been read, by (topic, partition)."""
    rows = await conn.fetch(SQL.load_offsets)
    return {(row["topic"], row["partition"]): row["next"] for row in rows}


async def rebuild(conn: Connection) -> None:
    """Empty everything that comes from the log; a running consumer is fenced and reads it again."""
    tables = [row["name"] for row in await conn.fetch(SQL.derived_tables)]
    await conn.execute(f"truncate {', '.join(tables)}")
