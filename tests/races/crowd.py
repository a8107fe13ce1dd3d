"""Many firms on the log, and what a run has made of a month of theirs."""

import json
from hashlib import sha256
from typing import Any

from tests.billing.conftest import Billing
from tests.log import DIRECTORY, amended, entry, of_firm, put

MADE = """
select f.firm_id, f.report, f.invoice_id, i.state, i.content
from run_firm f left join invoice i on i.firm_id = f.firm_id and i.invoice_id = f.invoice_id
where f.run_id = $1 and f.done order by f.firm_id
"""
LEFT = "select count(*) from run_firm where run_id = $1 and not done"
LISTED = "select listed from run where run_id = $1"


def firm_names(count: int) -> list[str]:
    return [f"firm-{n}" for n in range(1, count + 1)]


async def settle_crowd(billing: Billing, firm_count: int, entry_count: int) -> None:
    """Put firms with some entries each on the log, wait for them, and leave nobody who drafts."""
    firms = firm_names(firm_count)
    directory = [of_firm(body, firm_id) for firm_id in firms[1:] for body in DIRECTORY]
    await put(billing.settings, directory, "admin:a")
    for firm_id in firms[1:]:
        terms = {"approval": "none", "effective_month": "2026-01"}
        await billing.call("PUT", f"/v1/firms/{firm_id}/billing-terms", terms)
    told = [entry(f"e{n}", 7 + n, at=200 * n) for n in range(entry_count)] + [amended("e0", 33, 1)]
    await put(billing.settings, [of_firm(body, firm_id) for firm_id in firms for body in told])
    await billing.settle(seconds=600)
    await billing.server.close()


async def is_done(conn: Any, run_id: str) -> bool:
    return await conn.fetchval(LISTED, run_id) and not await conn.fetchval(LEFT, run_id)


async def made(conn: Any, run_id: str) -> list[tuple[str, str, str | None, str | None, str | None]]:
    """Give what a run made, byte for byte but for its own id, firm by firm."""
    return [
        (
            row["firm_id"],
            row["report"].replace(run_id, "RUN"),
            row["invoice_id"] and row["invoice_id"].replace(run_id, "RUN"),
            row["state"],
            row["content"] and sha256(row["content"]).hexdigest(),
        )
        for row in await conn.fetch(MADE, run_id)
    ]


def outcomes(rows: list[Any]) -> set[str]:
    return {json.loads(row[1])["outcome"] for row in rows}
