"""What billing's calls share: bodies, keys of requests, the office's transaction, invoices."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import asyncpg
from aiohttp import web
from pydantic import BaseModel, ConfigDict, StringConstraints
from yarl import URL

from schemas.instants import Day
from schemas.money import amount_text, minor_digits
from schemas.periods import Month
from services.billing.store import SQL
from services.directories import knows_firm
from services.postgres import (
    Connection,
    office_transaction,
)
from services.settings import Settings
from services.web.http import (
    OFFICE_POOL,
    Problem,
    not_found,
    principal_of,
)
from services.web.routes import KEY_HEADER, KEY_PATTERN

SETTINGS: Final = web.AppKey("settings", Settings)
WRITER_POOL: Final = web.AppKey("writer_pool", asyncpg.Pool)
_KEY: Final = re.compile(KEY_PATTERN)

# The years of schemas.instants: no month near their ends leaves what a date holds.
MonthText = Annotated[
    str, StringConstraints(pattern=r"^(19[7-9]|20[0-9]|21[0-9])[0-9]-(0[1-9]|1[0-2])$")
]
RateText = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,6}(\.[0-9]{1,4})?$")]


class Body(BaseModel):
    """What every body shares: no unknown field."""

    model_config = ConfigDict(extra="forbid")


class IssueIn(Body):
    """The date that stands on the invoice."""

    invoice_date: Day


def request_key(request: web.Request) -> str:
    """Give the key under which a finance call is safe to repeat. Raises Problem 400."""
    key = request.headers.get(KEY_HEADER, "")
    if _KEY.fullmatch(key) is None:
        raise Problem(400, "idempotency_key_missing", "Send an Idempotency-Key of your own making")
    return key


@asynccontextmanager
async def office(
    request: web.Request,
    action: str,
    subject: str = "",
    *,
    firm_id: str = "*",
    snapshot: bool = False,
) -> AsyncIterator[Connection]:
    """Open a transaction of the office, with its use on record."""
    async with office_transaction(
        request.app[OFFICE_POOL],
        principal_of(request),
        action,
        subject=subject,
        firm_id=firm_id,
        snapshot=snapshot,
    ) as conn:
        yield conn


def invoice_out(row: asyncpg.Record) -> dict[str, Any]:
    """Show an invoice without its document."""
    return {
        "invoice_id": row["invoice_id"],
        "firm_id": row["firm_id"],
        "period": str(Month.of(row["period"])),
        "state": row["state"],
        "number": row["number"],
        "total": {
            "amount": amount_text(row["total_minor"], minor_digits(row["currency"])),
            "currency": row["currency"],
        },
        "run_id": row["run_id"],
        "sha256": row["sha256"],
    }


def next_firms(asked: URL, following: str | None) -> dict[str, str]:
    """Give the header that names the call again for the firms after one, if there are more."""
    if following is None:
        return {}
    return {"Link": f'<{asked.update_query(after=following)}>; rel="next"'}


async def require_known(conn: Connection, firm_id: str) -> None:
    """Raise Problem 404 while the directory has not told us of a firm."""
    if not await knows_firm(conn, firm_id):
        raise not_found()


async def find(conn: Connection, invoice_id: str) -> Any:
    """Find an invoice by id or number, without its document. Raises Problem 404."""
    row = await conn.fetchrow(SQL.find_invoice, invoice_id)
    if row is None:
        raise not_found()
    return row
