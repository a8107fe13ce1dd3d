"""Gathering: everything that a question's figures are made of, in one snapshot of the tables."""

from collections.abc import Iterable
from datetime import datetime

from schemas.directory import Firm
from schemas.periods import day_start
from services.metrics import store
from services.metrics.answers import DataAsOf, LogPlace
from services.metrics.calendars import firm_clock
from services.metrics.cohorts import Definition, Window, Work
from services.postgres import Connection


async def load_work(
    conn: Connection,
    firm: Firm,
    span: Window,
    definitions: Iterable[Definition],
    as_of: datetime,
) -> Work:
    """Load what the figures of a span of dates need."""
    asked = list(definitions)
    since, until = (day_start(day, firm.timezone) for day in span)
    needs_hours = any(definition.is_of_hours for definition in asked)
    needs_tasks = not all(definition.is_of_hours for definition in asked)
    needs_escalations = any(definition.counts_loose for definition in asked)
    needs_open = any(definition.is_stock for definition in asked)
    return Work(
        zone=firm.timezone,
        as_of=as_of,
        business=firm_clock(firm.calendars),
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
