"""What one firm, or one decision, does to the others: it may wait or fail, they go on."""

import asyncio

import pytest

from services.billing import jobs
from services.billing.store import SQL
from services.folding import rebuild
from services.postgres import connect
from tests.billing.worker import begin
from tests.locks import until_waiting
from tests.log import DIRECTORY, entry, of_firm, put

DECIDED = "select max(decided_at) from billing."
TIMEOUT = """
create function billing.time_out() returns trigger language plpgsql as $$
begin
    if new.firm_id = 'firm-1' then
        raise exception 'too long' using errcode = 'query_canceled';
    end if;
    return new;
end $$;
create trigger time_out before insert on billing.invoice
for each row execute function billing.time_out();
"""
RATE = {"country": "PH", "role": "legal_assistant", "rate": "16.00", "valid_from": "2026-01-01"}
DECISIONS = {
    "rate": ("PUT", "/v1/rate-cards", RATE),
    "terms": ("PUT", "/v1/firms/firm-1/billing-terms", {"effective_month": "2026-07"}),
    "approval": (
        "POST",
        "/v1/firms/firm-1/timesheets/approve",
        {"from_date": "2026-07-01", "to_date": "2026-07-31"},
    ),
    "settlement": ("POST", "/v1/invoices/{}/issue", {"invoice_date": "2026-08-05"}),
}


async def two_firms(billing):
    await put(billing.settings, [of_firm(body, "firm-2") for body in DIRECTORY], "admin:a")
    terms = {"approval": "none", "effective_month": "2026-01"}
    await billing.call("PUT", "/v1/firms/firm-2/billing-terms", terms)
    await put(billing.settings, [of_firm(entry("a", 30), firm) for firm in ("firm-1", "firm-2")])
    await billing.settle()


def outcomes(run):
    return {firm["firm_id"]: firm["report"]["outcome"] for firm in run["firms"]}


@pytest.mark.parametrize("table", DECISIONS)
async def test_a_decision_that_waited_for_a_cut_is_stamped_after_it(billing, owner, table):
    await put(billing.settings, [entry("a", 30)])
    run = await billing.run("2026-07")
    invoice_id = run["firms"][0]["invoice_id"]
    await billing.call("POST", f"/v1/invoices/{invoice_id}/approve")
    method, path, body = DECISIONS[table]
    async with owner.transaction():
        await owner.execute(SQL.bar_decisions)
        deciding = asyncio.create_task(billing.call(method, path.format(invoice_id), body))
        await until_waiting(owner, "advisory")
        instant = await owner.fetchval(SQL.read_clock)
    await deciding
    assert await owner.fetchval(DECIDED + table) > instant


async def test_versions_of_terms_that_are_set_at_once_have_numbers_of_their_own(billing):
    told = {"effective_month": "2026-07"}
    path = "/v1/firms/firm-1/billing-terms"
    answers = await asyncio.gather(*(billing.call("PUT", path, told) for _ in range(8)))
    assert sorted(answer["version"] for answer in answers) == list(range(2, 10))


async def test_a_firm_whose_draft_fails_is_told_and_stops_no_other(billing, owner):
    await two_firms(billing)
    await billing.run_and_issue("2026-07", "2026-08-05")
    await owner.execute(
        "delete from billing.entity where firm_id = 'firm-1' and kind = 'entry';"
        "delete from billing.entry where firm_id = 'firm-1'"
    )
    await put(billing.settings, [of_firm(entry("b", 30, at=60_000), "firm-2")])
    run = await billing.run("2026-08")
    assert outcomes(run) == {"firm-1": "failed", "firm-2": "document"}
    blocked = run["firms"][0]["report"]["blocked"][0]
    assert blocked["code"] == "draft_failed"
    assert blocked["detail"].startswith("EntryMissingError at drafts.py:")
    assert outcomes(await billing.run("2026-08", firm_ids=["firm-2"])) == {"firm-2": "document"}


async def test_a_draft_that_the_world_ends_comes_after_the_others_and_is_told_at_last(
    billing, owner, monkeypatch
):
    monkeypatch.setattr(jobs, "BACK_OFF_SECONDS", 0.05)
    await two_firms(billing)
    await owner.execute(TIMEOUT)
    run = await billing.run("2026-07")
    assert outcomes(run) == {"firm-1": "failed", "firm-2": "document"}
    first = run["firms"][0]
    assert (first["attempts"], first["trouble"]) == (jobs.ATTEMPTS_MAX, "QueryCanceledError")
    await owner.execute("drop trigger time_out on billing.invoice")
    again = await billing.run("2026-07", firm_ids=["firm-1"])
    assert outcomes(again) == {"firm-1": "document"}


async def test_a_claimed_firm_holds_up_neither_its_run_nor_the_next(billing, owner):
    await two_firms(billing)
    await billing.server.close()
    conn = await connect(billing.settings, "billing", "writer")
    runs = [
        await begin(conn, billing.settings, dry_run=dry_run) for dry_run in (False, False, True)
    ]
    assert await jobs.draft_next(conn)  # lists the first one's firms
    async with owner.transaction():
        claimed = "select 1 from billing.run_firm where run_id = $1 and firm_id = 'firm-1'"
        await owner.execute(f"{claimed} for update", runs[0])
        while await jobs.draft_next(conn):
            pass
        left = await conn.fetch("select run_id, firm_id from run_firm where not done")
        # The second run's draft of the firm comes after the first one's.
        assert {tuple(row) for row in left} == {(runs[0], "firm-1"), (runs[1], "firm-1")}
    while await jobs.draft_next(conn):
        pass
    assert await conn.fetchval("select count(*) from run_firm where not done") == 0
    open_now = await conn.fetch("select run_id from invoice where state = 'draft'")
    assert {row["run_id"] for row in open_now} == {runs[1]}
    await conn.close()


async def test_a_rebuild_under_way_is_never_drafted_as_an_empty_firm(billing, owner):
    await two_firms(billing)
    await billing.server.close()
    conn = await connect(billing.settings, "billing", "writer")
    run_id = await begin(conn, billing.settings, dry_run=True)
    assert await jobs.draft_next(conn)
    await rebuild(conn)
    assert not await jobs.draft_next(conn)
    done = "select count(*) from run_firm where run_id = $1 and done"
    assert await conn.fetchval(done, run_id) == 0
    await conn.close()
