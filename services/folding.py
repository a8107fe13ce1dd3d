"""One poll, one transaction: the fence, the facts, then every touched entity folded from empty.

The order of the steps is what makes it exact (see docs/decisions/0001): the offset is advanced
first, so a second owner finds no row; row versions are read before the facts, so a fold that missed
a fact cannot be saved; firms and placements are locked in share and give their timelines once the
lock is had, so no fold commits against a timeline that was just replaced. A poll costs the same few
statements for one event and for hundreds, whatever partitions of its topic they come from.
"""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import prometheus_client as prometheus
import structlog

from schemas.directory import Directory
from schemas.events import EntityKey
from schemas.facts import Fact, Position
from schemas.fields import Kind
from services.directories import (
    DIRECTORY_KINDS,
    Timelines,
    load_directory,
    own_rows,
    save_directory,
    share_timelines,
)
from services.failures import Failure, attempt, failure_of
from services.log_applying import NO_TOPIC, Batch, Discontinuity, LogState, Progress
from services.log_facts import (
    Fresh,
    advance,
    append_facts,
    key_columns,
    load_facts,
    load_rows,
    read_facts,
)
from services.log_records import Parked, key_of
from services.postgres import Connection, House
from services.pulse import Pulse
from services.sql import queries

__all__ = [
    "Reading",
    "caught_up",
    "load_directory",
    "load_facts",
    "rebuild",
]

RECORDS_MAX: Final = 10_000  # an entity with more is folded by the queue, not by every poll
SLICE_RECORDS_MAX: Final = 20_000  # facts that are held in memory at once
PARTS_MAX: Final = 2_000  # of states that are held, and saved, at once; the last one may exceed it
LARGE_SECONDS: Final = 60  # between two folds of such an entity, or attempts at one
REFOLD_SLICE: Final = 500
ROUNDS_MAX: Final = 5
REFUSALS: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

SQL = queries(Path(__file__).with_name("folding.sql"))
RECORDS = prometheus.Counter("turnsheet_log_records_total", "Records applied.", ["house", "topic"])
AGE_SECONDS = prometheus.Histogram(
    "turnsheet_log_event_age_seconds",
    "Seconds from ingest's stamp to the commit of its effects; one sample a poll, its oldest.",
    ["house"],
    buckets=(0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600, 86400),
)
PARKED = prometheus.Counter(
    "turnsheet_quarantined_records_total", "Records that could not be read.", ["house", "code"]
)
FAILED = prometheus.Counter(
    "turnsheet_failed_folds_total", "Entities whose fold or save failed.", ["house", "kind"]
)
CONTESTED = prometheus.Counter(
    "turnsheet_contested_folds_total", "Folds done again: another writer was first.", ["house"]
)
SIGNS: Final[Mapping[str, prometheus.Gauge]] = {
    "refolds": prometheus.Gauge("turnsheet_refolds", "Entities that wait for a fold.", ["house"]),
    "failed_entities": prometheus.Gauge(
        "turnsheet_failed_entities", "Entities whose last fold failed.", ["house"]
    ),
    "quarantined": prometheus.Gauge(
        "turnsheet_quarantine_size", "Records that lie in quarantine.", ["house"]
    ),
    "unknown_placements": prometheus.Gauge(
        "turnsheet_unknown_placements",
        "Placements that facts name and nobody has told us of for 15 minutes.",
        ["house"],
    ),
}
log = structlog.get_logger()

Saved = tuple[EntityKey, Any]


@dataclass(frozen=True)
class Reading:
    """What a house brings to the transaction.

    topics  their names without prefix
    kinds   the entity kinds it folds; the directory's are folded for every house
    fold    pure: all facts of an entity, in no order, and the firm and placements that they name;
            returns the entity's state, None when nothing of it stands
    save    writes states into the house's own tables and removes what is None, also what could not
            be folded or saved; whole sets at a time, in the order of their keys, each key once
    """

    house: House
    topics: tuple[str, ...]
    kinds: frozenset[Kind]
    fold: Callable[[EntityKey, Sequence[Fact], Directory], Any]
    save: Callable[[Connection, Sequence[Saved]], Awaitable[None]]
    parts: Callable[[Any], int] = lambda _: 1


class _Version(NamedTuple):
    """An entity as it was read: 0 and 0 while it has no row."""

    row_version: int = 0
    records: int = 0
    failed: str | None = None


# A poll


async def place(conn: Connection, topic: str, partition: int, state: LogState) -> Progress:
    """Return where to read on. Raises `Discontinuity` when the log is not the one we know."""
    if state.topic_id == NO_TOPIC:
        raise Discontinuity("the topic does not exist")
    row = await conn.fetchrow(SQL.load_offset, topic, partition)
    if row is None:
        if state.begin != 0:
            raise Discontinuity(f"the log begins at {state.begin}: its first records are gone")
        await conn.execute(SQL.insert_offset, topic, partition, state.topic_id)
        return Progress(0, None)  # a racer may have moved on: then the fence sends us back here
    if row["topic_id"] != state.topic_id:
        raise Discontinuity("the topic was deleted and made again")
    offset: int = row["next"]
    if not state.begin <= offset <= state.end:
        raise Discontinuity(f"next is {offset}, the log holds {state.begin} to {state.end}")
    return Progress(offset, row["last_digest"])


async def apply(conn: Connection, reading: Reading, batches: Sequence[Batch]) -> None:
    """Apply batches of one topic with their offsets in one transaction. Raises `Fenced`.

    Where the tables refuse a state, which is rare, all is done again with more care.
    """
    try:
        facts, parked = await _apply(conn, reading, batches)
    except REFUSALS:
        facts, parked = await _apply(conn, _careful(reading), batches)
    # failpoint poll.committed
    _tell(reading, batches, facts, parked)


async def _apply(
    conn: Connection, reading: Reading, batches: Sequence[Batch]
) -> tuple[list[Fact], list[Parked]]:
    async with conn.transaction():
        # failpoint poll.begun
        await advance(conn, batches)
        # failpoint poll.fenced
        facts, parked = await append_facts(conn, reading.kinds | DIRECTORY_KINDS, batches)
        # failpoint poll.facts_written
        fresh: defaultdict[EntityKey, dict[Position, Fact]] = defaultdict(dict)
        for fact in facts:
            fresh[fact.entity][fact.position] = fact
        await fold_directory(conn, reading, [k for k in fresh if k.kind in DIRECTORY_KINDS])
        # failpoint poll.directory_folded
        work = {key: added for key, added in fresh.items() if key.kind in reading.kinds}
        await fold_entities(conn, reading, work)
        # failpoint poll.folded
    return facts, parked


def _tell(
    reading: Reading, batches: Sequence[Batch], facts: Sequence[Fact], parked: Sequence[Parked]
) -> None:
    topic = batches[0].topic
    RECORDS.labels(reading.house, topic).inc(sum(len(batch.records) for batch in batches))
    if facts:
        oldest = min(fact.received_at for fact in facts)
        AGE_SECONDS.labels(reading.house).observe((datetime.now(UTC) - oldest).total_seconds())
    for code, count in Counter(one.code for one in parked).items():
        PARKED.labels(reading.house, code).inc(count)
        log.error("records_quarantined", house=reading.house, topic=topic, code=code, count=count)


# Folding


async def fold_directory(conn: Connection, reading: Reading, keys: Iterable[EntityKey]) -> None:
    """Fold firms, placements and assistants, and queue what they touch to be folded again."""
    pending = sorted(keys)
    if not pending:
        return
    await own_rows(conn, pending)
    # failpoint directory.locked
    facts, unread = await read_facts(conn, await load_rows(conn, pending), {})
    _tell_failed(reading, await save_directory(conn, facts, unread, reading.kinds))


async def fold_entities(
    conn: Connection, reading: Reading, fresh: Fresh, *, large_too: bool = False
) -> None:
    """Fold entities from empty and save them, in slices that fit the memory.

    `fresh` names them all, with the facts that this transaction has added to each. One with very
    many records is left to the queue, unless `large_too`.
    """
    waiting = iter(sorted(fresh))
    while keys := list(islice(waiting, SLICE_RECORDS_MAX // 10)):
        versions = await _load_versions(conn, keys)
        # failpoint fold.versions_read
        for group in _slices(keys, versions, fresh):
            await _fold_slice(conn, reading, group, versions, fresh, large_too=large_too)


async def _load_versions(conn: Connection, keys: Sequence[EntityKey]) -> dict[EntityKey, _Version]:
    found = dict.fromkeys(keys, _Version())
    for row in await conn.fetch(SQL.load_versions, *key_columns(keys)):
        found[key_of(row)] = _Version(row["row_version"], row["records"], row["failed"])
    return found


def _slices(
    keys: Sequence[EntityKey],
    versions: Mapping[EntityKey, _Version],
    fresh: Fresh,
) -> Iterable[list[EntityKey]]:
    """Cut keys, in their order, where the facts to be held at once would be too many."""
    group: list[EntityKey] = []
    held = 0
    for key in keys:
        records = versions[key].records + len(fresh[key])
        if group and held + records > SLICE_RECORDS_MAX:
            yield group
            group, held = [], 0
        group.append(key)
        held += records
    yield group


async def _fold_slice(
    conn: Connection,
    reading: Reading,
    keys: Sequence[EntityKey],
    versions: Mapping[EntityKey, _Version],
    fresh: Fresh,
    *,
    large_too: bool,
) -> None:
    """Fold and save; what another writer saved meanwhile is read and folded again."""
    pending, seen = list(keys), dict(versions)
    for _ in range(ROUNDS_MAX):
        records = {key: seen[key].records + len(fresh[key]) for key in pending}
        large = {key for key in pending if not large_too and records[key] > RECORDS_MAX}
        small = {key: seen[key] for key in pending if key not in large}
        gathered = await _gather(conn, small, fresh)
        saved: set[EntityKey] = set()
        waiting = iter(pending)
        while folded := await _fold(conn, reading, waiting, gathered):
            saved |= await _save(conn, reading, folded, seen, records, large)
        pending = [key for key in pending if key not in saved]
        if not pending:
            return
        CONTESTED.labels(reading.house).inc(len(pending))
        seen.update(await _load_versions(conn, pending))
    raise asyncpg.SerializationError(f"{len(pending)} entities stayed contested")


class _Gathered(NamedTuple):
    """What entities are folded from: their facts, or why these cannot be read."""

    facts: Mapping[EntityKey, Sequence[Fact] | Failure]
    timelines: Timelines


async def _gather(conn: Connection, seen: Mapping[EntityKey, _Version], fresh: Fresh) -> _Gathered:
    """Read entities' facts and the directory that they name, locked in share until the end.

    One that has no row yet has no other facts than the fresh ones: rows and facts are committed
    together, and where somebody is quicker than we, our version is not the one he left.
    """
    there = await load_rows(conn, [key for key, version in seen.items() if version.row_version])
    read, failed = await read_facts(conn, there, fresh)
    facts = {
        key: read[key] if key in there else list(fresh[key].values())
        for key in seen
        if key not in failed
    }
    timelines = await share_timelines(conn, facts)
    # failpoint fold.timelines_locked
    return _Gathered({**facts, **failed}, timelines)


async def _fold(
    conn: Connection, reading: Reading, waiting: Iterator[EntityKey], gathered: _Gathered
) -> dict[EntityKey, Any]:
    """Fold the next entities, as many as come to some thousand parts; none when none waits.

    Returns the state of each, a Failure where it cannot be folded, and None too where nothing was
    gathered. An entity is cheap to send and may have hundreds of parts: what is held, and written
    without a turn for others, is bounded by these.
    """
    folded: dict[EntityKey, Any] = {}
    parts = 0
    pulse = Pulse(conn)
    for key in waiting:
        found = gathered.facts.get(key)
        state: Any = found
        if found is not None and not isinstance(found, Failure):
            work = partial(attempt, partial(_state, reading, key, found, gathered.timelines))
            state = await pulse.run(work, len(found))
            if state is not None and not isinstance(state, Failure):
                parts += reading.parts(state)
        folded[key] = state
        if parts >= PARTS_MAX:
            break
    return folded


def _state(reading: Reading, key: EntityKey, found: Sequence[Fact], timelines: Timelines) -> Any:
    return reading.fold(key, found, timelines.directory(key, found))


async def _save(
    conn: Connection,
    reading: Reading,
    folded: Mapping[EntityKey, Any],
    seen: Mapping[EntityKey, _Version],
    records: Mapping[EntityKey, int],
    large: set[EntityKey],
) -> set[EntityKey]:
    """Save entities whose version is still the one that was read, and say which these are."""
    failed = {key: state for key, state in folded.items() if isinstance(state, Failure)}
    counts = {key: records[key] for key in folded}
    saved = await _save_versions(conn, seen, counts, failed, large & folded.keys())
    # failpoint fold.versions_saved
    # What cannot be folded is saved as None: rows are made of facts, not of an earlier poll's.
    if states := [
        (key, None if key in failed else state)
        for key, state in folded.items()
        if key in saved and key not in large
    ]:
        await reading.save(conn, states)
    # failpoint fold.states_saved
    _tell_failed(reading, {key: why for key, why in failed.items() if key in saved})
    if left := sorted(large & saved):
        log.warning("entities_large", house=reading.house, count=len(left))
        await conn.execute(SQL.queue_large, *key_columns(left), timedelta(seconds=LARGE_SECONDS))
    return saved


async def _save_versions(
    conn: Connection,
    seen: Mapping[EntityKey, _Version],
    records: Mapping[EntityKey, int],
    failed: Mapping[EntityKey, Failure],
    large: Iterable[EntityKey],
) -> set[EntityKey]:
    """Move each entity's version on, where it is still the one that was read; say which."""
    reasons: dict[EntityKey, str | None] = {key: why.reason for key, why in failed.items()}
    reasons |= {key: seen[key].failed for key in large}
    rows = await conn.fetch(
        SQL.save_entities,
        *key_columns(records),
        [seen[key].row_version for key in records],
        list(records.values()),
        [reasons.get(key) for key in records],
    )
    return {key_of(row) for row in rows}


def _careful(reading: Reading) -> Reading:
    """Have the house save inside a savepoint: a state that is refused costs its entity only."""

    async def save(conn: Connection, states: Sequence[Saved]) -> None:
        try:
            async with conn.transaction():
                await reading.save(conn, states)
        except REFUSALS as error:
            if len(states) > 1:
                for state in states:
                    await save(conn, [state])
                return
            key, _ = states[0]
            failure = failure_of(error)
            await reading.save(conn, [(key, None)])
            await conn.execute(SQL.fail_entity, *key, failure.reason)
            _tell_failed(reading, {key: failure})

    return replace(reading, save=save)


def _tell_failed(reading: Reading, failed: Mapping[EntityKey, Failure]) -> None:
    for key, failure in failed.items():
        FAILED.labels(reading.house, key.kind).inc()
        log.error(
            "fold_failed",
            house=reading.house,
            firm_id=key.firm_id,
            kind=key.kind,
            entity_id=key.entity_id,
            reason=failure.reason,
        )


# The queue


async def drain_refolds(conn: Connection, reading: Reading) -> int:
    """Fold a slice of the queue again; return how many rows it took, 0 when none is due.

    Large entities come when nothing else is due, each in a transaction of its own: however long
    one takes, and even if it never ends, the others are folded.
    """
    taken = 0
    for kinds in (DIRECTORY_KINDS, reading.kinds):
        async with conn.transaction():
            rows = await conn.fetch(
                SQL.claim_refolds, sorted(kinds), REFOLD_SLICE, RECORDS_MAX, SLICE_RECORDS_MAX
            )
            await _fold_again(conn, reading, rows)
        # failpoint refold.committed
        taken += len(rows)
    return taken or await _drain_large(conn, reading)


async def _drain_large(conn: Connection, reading: Reading) -> int:
    kinds = sorted(DIRECTORY_KINDS | reading.kinds)
    row = await conn.fetchrow(SQL.put_off_large, kinds, timedelta(seconds=LARGE_SECONDS))
    if row is None:
        return 0
    async with conn.transaction():
        await _fold_again(conn, reading, await conn.fetch(SQL.claim_refold, *row))
    return 1


async def _fold_again(conn: Connection, reading: Reading, rows: Sequence[asyncpg.Record]) -> None:
    keys = {key_of(row) for row in rows}
    await fold_directory(conn, reading, [key for key in keys if key.kind in DIRECTORY_KINDS])
    work: Fresh = {key: {} for key in keys if key.kind in reading.kinds}
    if work:
        # failpoint refold.claimed
        await conn.execute(SQL.allow_long_fold)
        await fold_entities(conn, _careful(reading), work, large_too=True)
        # failpoint refold.folded


# What others ask


async def caught_up(conn: Connection, ends: Mapping[tuple[str, int], int]) -> bool:
    """Say whether everything before these log ends is applied, and nothing waits to be refolded.

    `ends` are as `log_ends` gives them: by full topic name and partition.
    """
    places = sorted(ends)
    return bool(
        await conn.fetchval(
            SQL.is_caught_up,
            [topic for topic, _ in places],
            [partition for _, partition in places],
            [ends[place] for place in places],
        )
    )


async def load_offsets(conn: Connection) -> dict[tuple[str, int], int]:
    """Return the next offset of every partition that has been read, by (topic, partition)."""
    rows = await conn.fetch(SQL.load_offsets)
    return {(row["topic"], row["partition"]): row["next"] for row in rows}


async def rebuild(conn: Connection) -> None:
    """Empty everything that comes from the log; consumers read it again from its beginning.

    Running ones need not be stopped: their fence finds no row, and they place again. Raises
    `asyncpg.DeadlockDetectedError` when a reader of several tables was in the way: do it again.
    """
    async with conn.transaction():
        await conn.execute(SQL.lock_log)
        await conn.execute(SQL.truncate_derived)
