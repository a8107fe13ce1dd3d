"""Gathering: everything that a question's figures are made of, in one snapshot of the tables.

What is loaded stays rows until the transaction is over: to read the rows of a large firm takes
seconds, in which Postgres would hear nothing of us, so that is for whoever computes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from schemas.directory import Firm
from schemas.periods import day_start
from services.metrics import store
from services.metrics.answers import DataAsOf, LogPlace
from services.metrics.calendars import firm_clock
from services.metrics.cohorts import Definition, Window, Work
from services.postgres import Connection


@dataclass(frozen=True, slots=True)
class Gathered:
    """The rows of what a firm's figures are made of."""

    firm: Firm
    as_of: datetime
    tasks: Sequence[asyncpg.Record]
    escalations: Sequence[asyncpg.Record]
    worked: Sequence[asyncpg.Record]
    open_entries: Sequence[asyncpg.Record]

    def size(self) -> int:
        """Say how many rows were gathered."""
        return sum(map(len, (self.tasks, self.escalations, self.worked, self.open_entries)))

    def read(self) -> Work:
        """Read the rows: some 15 µs a task, 2 µs a part of an entry."""
        return Work(
            zone=self.firm.timezone,
            as_of=self.as_of,
            business=firm_clock(self.firm.calendars),
            tasks=store.read_tasks(self.tasks),
            escalations=store.read_escalations(self.escalations),
            worked=store.read_worked(self.worked),
            open_entries=store.read_open_entries(self.open_entries),
        )


async def gather(
    conn: Connection,
    firm: Firm,
    span: Window,
    definitions: Iterable[Definition],
    as_of: datetime,
) -> Gathered:
    """Load what the figures of a span of dates need."""
    asked = list(definitions)
    since, until = (day_start(day, firm.timezone) for day in span)
    needs_hours = any(definition.is_of_hours for definition in asked)
    needs_tasks = not all(definition.is_of_hours for definition in asked)
    needs_escalations = any(definition.counts_loose for definition in asked)
    needs_open = any(definition.is_stock for definition in asked)
    return Gathered(
        firm=firm,
        as_of=as_of,
        tasks=(
            await store.load_tasks(conn, firm.firm_id, since, until, and_open=needs_open)
            if needs_tasks
            else ()
        ),
        escalations=(
            await store.load_escalations(conn, firm.firm_id, since, until)
            if needs_escalations
            else ()
        ),
        worked=await store.load_worked(conn, firm.firm_id, *span) if needs_hours else (),
        open_entries=(
            await store.load_open_entries(conn, firm.firm_id, since, until) if needs_hours else ()
        ),
    )


async def load_cut(conn: Connection, firm_id: str, instant: datetime) -> tuple[DataAsOf, int]:
    """Say how far the log has told us of a firm, and how many entities could not be folded."""
    positions, failed = await store.load_cut(conn, firm_id)
    return DataAsOf(instant, tuple(LogPlace(*position) for position in positions)), failed
