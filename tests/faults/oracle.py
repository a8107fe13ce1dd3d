"""The oracle: what a world holds in the end, and what is wrong with it."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from schemas.events import EntityKey
from schemas.periods import Month
from services.billing import store as billing_store
from services.billing.consumer import fold
from services.billing.invoices import verify_chain
from services.folding import load_directory, load_facts
from services.metrics import store as metrics_store
from services.postgres import Connection
from tests.faults.clients import Ledger
from tests.faults.workload import INVOICE_DATE, PERIOD, Workload
from tests.faults.world import Installation, driver_connection
from tests.log import insist_on_rebuild

SERIES = f"INV-{INVOICE_DATE[:4]}"
STUCK_SECONDS = 3
BOOKS = """
select encode(sha256(string_agg(concat_ws('|', firm_id, entry_id, placement_id, assistant_id,
    (state::jsonb - 'last_received_at')::text, segments::text), '\n'
    order by firm_id, entry_id)::bytea), 'hex') from entry
"""


@dataclass
class Verdict:
    """What is compared with an undisturbed run, and everything that is wrong by itself."""

    hashes: dict[str, str] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def differences(self, undisturbed: "Verdict") -> list[str]:
        """Name what differs from an undisturbed run of the same workload."""
        return [
            f"{name} differs from an undisturbed run: {mine} is not {theirs}"
            for name, mine, theirs in (
                *((f"{h} state", d, undisturbed.hashes.get(h)) for h, d in self.hashes.items()),
                ("invoices", self.contents, undisturbed.contents),
            )
            if mine != theirs
        ]


async def judge(world: Installation, work: Workload, ledger: Ledger) -> Verdict:
    """Look at everything once the world has healed and caught up, and once more after a rebuild."""
    verdict = Verdict()
    metrics = await driver_connection(world.settings, "metrics")
    billing = await driver_connection(world.settings, "billing")
    try:
        before = await _hashes(metrics, billing)
        verdict.hashes = {"metrics": before["metrics"], "billing": await _books(billing)}
        await _judge_facts(verdict, metrics, billing, work, ledger)
        await _judge_effects(verdict, billing)
        await _judge_signs(verdict, metrics, billing)
        await _judge_invoices(verdict, billing)
        await _judge_transactions(verdict, world)
        await asyncio.gather(insist_on_rebuild(metrics), insist_on_rebuild(billing))
        await world.settle()
        again = await _hashes(metrics, billing)
        if again != before:
            verdict.wrong.append(f"a rebuild gives another state: {before} and {again}")
    finally:
        await asyncio.gather(metrics.close(timeout=5), billing.close(timeout=5))
    return verdict


async def _hashes(metrics: Connection, billing: Connection) -> dict[str, str]:
    return {
        "metrics": await metrics_store.state_hash(metrics),
        "billing": await billing_store.state_hash(billing),
    }


async def _books(billing: Connection) -> str:
    """Hash billing's entries but for the time of receiving: two worlds receive at other times."""
    return str(await billing.fetchval(BOOKS))


async def _judge_facts(
    verdict: Verdict, metrics: Connection, billing: Connection, work: Workload, ledger: Ledger
) -> None:
    """Everything acknowledged is a fact, and nothing is that was not sent."""
    kinds = {"metrics": None, "billing": {"entry", "firm", "placement", "assistant"}}
    for conn, (house, kept) in zip((metrics, billing), kinds.items(), strict=True):
        rows = await conn.fetch("select source, event_id, firm_id, kind, entity_id from fact")
        facts = {(row[0], row[1], EntityKey(row[2], row[3], row[4])) for row in rows}
        promised = {i for i in ledger.acknowledged if kept is None or i[2].kind in kept}
        sent = {i for i in work.identities if kept is None or i[2].kind in kept}
        if lost := promised - facts:
            verdict.wrong.append(f"{house} lost {len(lost)} acknowledged events: {min(lost)}")
        if invented := facts - sent:
            verdict.wrong.append(f"{house} has facts that nobody sent: {min(invented)}")
        if sent - ledger.acknowledged:
            verdict.wrong.append("something was never acknowledged")


async def _judge_effects(verdict: Verdict, billing: Connection) -> None:
    """Every entry is what its facts say today, folded once more without the machinery."""
    rows = await billing.fetch("select distinct firm_id, entity_id from fact where kind = 'entry'")
    keys = [EntityKey(row["firm_id"], "entry", row["entity_id"]) for row in rows]
    facts = await load_facts(billing, keys)
    for firm_id in sorted({key.firm_id for key in keys}):
        directory = await load_directory(billing, firm_id)
        own = [key for key in keys if key.firm_id == firm_id]
        stored = await billing_store.load_entries(billing, firm_id, [key.entity_id for key in own])
        for key in own:
            expected = fold(key, facts[key], directory)
            held = stored.get(key.entity_id)
            if (expected and expected.entry) != (held and held.entry):
                verdict.wrong.append(f"{key} is {held}, its facts say {expected}")


async def _judge_signs(verdict: Verdict, metrics: Connection, billing: Connection) -> None:
    for house, conn in (("metrics", metrics), ("billing", billing)):
        for sign, question in (
            ("failed entities", "select count(*) from entity where failed is not null"),
            ("records in quarantine", "select count(*) from quarantine"),
            ("refolds that wait", "select count(*) from refold"),
        ):
            count = await conn.fetchval(question)
            if count:
                verdict.wrong.append(f"{house} has {count} {sign}")


async def _judge_invoices(verdict: Verdict, billing: Connection) -> None:
    """One invoice a firm, gapless numbers in one chain, and the content that a draft had."""
    rows = await billing.fetch(
        "select firm_id, number, state, content, body from invoice where period = $1 "
        "and state <> 'superseded' order by number",
        Month.parse(PERIOD).first_date,
    )
    verdict.contents = {row["firm_id"]: row["content"].decode() for row in rows}
    firms = [row["firm_id"] for row in rows]
    if len(firms) != len(set(firms)):
        verdict.wrong.append(f"two invoices for one firm: {firms}")
    if open_ := [row["firm_id"] for row in rows if row["state"] != "issued"]:
        verdict.wrong.append(f"not issued: {open_}")
    numbers = [row["number"] for row in rows]
    gapless = [f"{SERIES}-{n:06}" for n in range(1, len(rows) + 1)]
    if numbers != gapless:
        verdict.wrong.append(f"numbers are {numbers}")
    if breaks := verify_chain(await billing_store.load_chain(billing, SERIES)):
        verdict.wrong.append(f"the chain is broken: {breaks}")
    for row in rows:
        if row["body"] and _told(row["body"]) != _told(row["content"]):
            verdict.wrong.append(f"{row['number']} is not what was approved")
    settled = [r["firm_id"] for r in await billing.fetch("select firm_id from settlement")]
    listed = [r["firm_id"] for r in await billing.fetch("select firm_id from firm where known")]
    if sorted(settled) != sorted(listed):
        verdict.wrong.append(f"settled are {settled} of {listed}")


def _told(document: bytes) -> Any:
    body = json.loads(document)
    return {name: body[name] for name in ("lines", "total", "firm", "period")}


async def _judge_transactions(verdict: Verdict, world: Installation) -> None:
    """Nobody holds a transaction open that nobody works in."""
    conn = await asyncpg.connect(world.settings.database_url)
    try:
        rows = await conn.fetch(
            "select application_name, state, query from pg_stat_activity where datname = "
            "current_database() and pid <> pg_backend_pid() and state like 'idle in transaction%' "
            "and now() - xact_start > make_interval(secs => $1)",
            STUCK_SECONDS,
        )
    finally:
        await conn.close()
    verdict.wrong += [f"a stuck transaction: {tuple(row)}" for row in rows]
