"""A month's way on real servers: entries on the log, a run, an invoice, and what comes late."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest

from schemas.periods import Month
from services.billing import store
from services.billing.invoices import verify_chain
from services.billing.store import SQL
from services.folding import rebuild
from services.postgres import Connection, connect
from services.settings import Settings
from tests.billing.conftest import token
from tests.billing.worker import begin
from tests.faults.proxy import Proxy, proxy
from tests.log import DIRECTORY, amended, entry, event, of_firm, put

AUGUST_10 = 40 * 24 * 60  # in minutes after START


@asynccontextmanager
async def far_off(settings: Settings) -> AsyncIterator[tuple[Connection, Proxy]]:
    """Connect to the database by a way that can fall silent."""
    parts = urlsplit(settings.database_url)
    async with proxy(parts.port or 5432) as way:
        place = f"{parts.netloc.rpartition(':')[0]}:{way.port}"
        by_way = urlunsplit(parts._replace(netloc=place))
        conn = await connect(
            settings.model_copy(update={"database_url": by_way}), "billing", "writer"
        )
        yield conn, way
        await conn.close()


async def test_an_entry_becomes_an_issued_line_that_explains_itself(billing):
    await put(billing.settings, [entry("a", 30), entry("b", 180, at=60)])
    issued = await billing.run_and_issue("2026-07", "2026-08-05")
    assert [(i["number"], i["total"]["amount"]) for i in issued["issued"]] == [
        ("INV-2026-000001", "53.38")
    ]
    told = await billing.call("GET", "/v1/invoices/INV-2026-000001/lines/1/explain")
    assert told["steps"][-1] == "3.50 hours at 15.25 USD = 53.38 USD"
    places = [
        (e["entry_id"], [(f["source"], f["id"], f["offset"]) for f in e["facts"]])
        for e in told["entries"]
    ]
    assert places == [
        ("a", [("tracker/as-1", "e-a", 0)]),
        ("b", [("tracker/as-1", "e-b", 1)]),
    ]
    csv = await billing.call("GET", "/v1/invoices/INV-2026-000001.csv")
    assert csv.splitlines()[1].startswith("INV-2026-000001,2026-08-05,firm-1,2026-07,1,regular,")


async def test_worked_is_billed_and_held_and_nothing_else(billing):
    await put(billing.settings, [entry("a", 30), entry("n", 10, at=60, billable=False)])
    run = await billing.run("2026-07", dry_run=True)
    report = run["firms"][0]["report"]
    bucket = report["buckets_if_issued"][-1]
    assert (bucket["worked_seconds"], bucket["billed_seconds"]) == (2400, 1800)
    assert (bucket["non_billable_seconds"], bucket["unexplained_seconds"]) == (600, 0)
    assert run["firms"][0]["invoice_id"] is None


async def test_work_told_under_another_firms_placement_is_held_and_is_nothing_to_that_firm(billing):
    """The door takes it from a firm, or it would tell whose the placement is."""
    await put(billing.settings, [of_firm(body, "firm-2") for body in DIRECTORY], "admin:a")
    terms = {"approval": "none", "effective_month": "2026-01"}
    await billing.call("PUT", "/v1/firms/firm-2/billing-terms", terms)
    theirs = of_firm(entry("a", 30), "firm-2")
    await put(billing.settings, [theirs, entry("a", 30), entry("b", 60, placement_id="pl-2")])
    run = await billing.run("2026-07")
    told = {
        firm["firm_id"]: [(held["entry_id"], held["reason"]) for held in firm["report"]["held"]]
        for firm in run["firms"]
    }
    assert told == {"firm-1": [("b", "unknown_placement")], "firm-2": []}
    listed = (await billing.call("GET", "/v1/invoices"))["invoices"]
    assert {i["firm_id"]: i["total"]["amount"] for i in listed} == {
        "firm-1": "7.63",
        "firm-2": "7.63",
    }


async def test_a_second_run_has_nothing_to_add(billing):
    await put(billing.settings, [entry("a", 30)])
    await billing.run_and_issue("2026-07", "2026-08-05")
    await put(billing.settings, [entry("a", 30)])
    run = await billing.run("2026-08")
    assert run["firms"][0]["report"]["outcome"] == "nothing_due"
    again = await billing.run("2026-07")
    assert [b["code"] for b in again["firms"][0]["report"]["blocked"]] == ["period_settled"]


async def test_late_and_amended_work_lands_on_the_next_month_with_its_reference(billing):
    await put(billing.settings, [entry("a", 180)])
    await billing.run_and_issue("2026-07", "2026-08-05")
    await put(billing.settings, [amended("a", 150, 1), entry("late", 60, at=600)])
    issued = await billing.run_and_issue("2026-08", "2026-09-05")
    document = await billing.call("GET", f"/v1/invoices/{issued['issued'][0]['invoice_id']}")
    line = document["document"]["lines"][0]
    assert (line["kind"], line["service_month"]) == ("adjustment", "2026-07")
    assert (line["old"]["amount"], line["new"]["amount"], line["amount"]) == (
        "45.75", "53.38", "7.63",
    )  # fmt: skip
    assert line["original"] == {"number": "INV-2026-000001", "line_number": 1}


@pytest.mark.parametrize(("gone", "amount"), [(False, "15.25"), (True, "9.00")])
async def test_late_work_of_a_month_settled_on_a_log_that_is_gone_is_priced_as_of_today(
    billing, owner, gone, amount
):
    """Positions of another log say nothing of what was known: rates and terms still do."""
    card = {"country": "MX", "role": "legal_assistant", "rate": "9", "valid_from": "2026-01-01"}
    await billing.call("PUT", "/v1/rate-cards", card)
    await put(billing.settings, [entry("a", 180)])
    await billing.run_and_issue("2026-07", "2026-08-05")
    backdated = {"firm_id": "firm-1", "placement_id": "pl-1", "country": "MX",
                 "effective_date": "2026-07-01"}  # fmt: skip
    await put(billing.settings, [event("placement.country_changed", "d9", backdated)], "admin:a")
    if gone:
        await owner.execute("""update billing.run
            set topic_ids = (select json_object_agg(key, gen_random_uuid())
                             from jsonb_each(topic_ids))""")
    await put(billing.settings, [entry("late", 60, at=600)])
    report = (await billing.run("2026-08", dry_run=True))["firms"][0]["report"]
    assert [line["amount"]["amount"] for line in report["lines"]] == [amount]


async def test_what_comes_after_the_pin_does_not_count(billing):
    await put(billing.settings, [entry("a", 30)])
    begun = await billing.call("POST", "/v1/runs", {"period": "2026-07"}, status=202)
    await put(billing.settings, [entry("b", 30, at=100), amended("a", 60, 1)])
    await billing.settle()
    run = await billing.ended(begun["run_id"])
    assert run["firms"][0]["report"]["total"]["amount"] == "7.63"


async def test_a_run_sees_no_less_than_one_that_was_pinned_while_it_looked_at_the_log(billing):
    """Or it would miss the work behind documents that it counts, and credit that."""
    await put(billing.settings, [entry("a", 30), entry("c", 600, at=AUGUST_10)])
    async with far_off(billing.settings) as (conn, way):
        way.silenced_by = SQL.bar_decisions.encode()
        beginning = asyncio.create_task(
            begin(conn, billing.settings, period=Month.parse("2026-08"))
        )
        async with asyncio.timeout(10):
            while way.weather != "silent":  # noqa: ASYNC110 (a port's bytes): it is to pin
                await asyncio.sleep(0.01)
        await put(billing.settings, [entry("b", 60, at=120)])
        july = await billing.run_and_issue("2026-07", "2026-08-05")
        assert [item["total"]["amount"] for item in july["issued"]] == ["22.88"]
        way.weather = "fair"
        august = await billing.ended(await beginning)
    report = august["firms"][0]["report"]
    assert [(line["kind"], line["service_month"], line["seconds"]) for line in report["lines"]] == [
        ("regular", "2026-08", 36_000)
    ]
    path = f"/v1/runs/{august['run_id']}/replay"
    assert [firm["state"] for firm in (await billing.call("GET", path))["firms"]] == ["same"]


async def test_a_run_after_the_log_has_lost_its_end_waits_for_nothing_that_is_gone(billing, owner):
    await put(billing.settings, [entry("a", 30)])
    await billing.run("2026-07", dry_run=True)
    await owner.execute(
        "update billing.run set ends = (select jsonb_agg(jsonb_build_array("
        "e -> 0, e -> 1, (e ->> 2)::int + 5)) from jsonb_array_elements(ends) e)"
    )
    run = await billing.run("2026-07")
    assert (run["state"], run["firms"][0]["report"]["total"]["amount"]) == ("done", "7.63")


async def test_required_approval_holds_until_the_very_version_is_approved(billing):
    terms = {"approval": "required", "effective_month": "2026-07"}
    await billing.call("PUT", "/v1/firms/firm-1/billing-terms", terms)
    await put(billing.settings, [entry("a", 30)])
    await billing.settle()
    run = await billing.run("2026-07", dry_run=True)
    assert run["firms"][0]["report"]["held"][0]["reason"] == "unapproved"
    firm = await token(billing.settings, "firm", ("firm-1",))
    dates = {"from_date": "2026-07-01", "to_date": "2026-07-31"}
    path = "/v1/firms/firm-1/timesheets/approve"
    assert await billing.call("POST", path, dates, bearer=firm) == {"approved": 1}
    run = await billing.run("2026-07", dry_run=True)
    assert run["firms"][0]["report"]["total"]["amount"] == "7.63"
    await put(billing.settings, [amended("a", 60, 1)])
    run = await billing.run("2026-07", dry_run=True)
    assert run["firms"][0]["report"]["outcome"] == "nothing_due"


async def test_issuing_at_once_gives_one_number_and_no_gap(billing):
    await put(billing.settings, [entry("a", 30)])
    run = await billing.run("2026-07")
    invoice_id = run["firms"][0]["invoice_id"]
    await billing.call("POST", f"/v1/invoices/{invoice_id}/approve")
    path, body = f"/v1/invoices/{invoice_id}/issue", {"invoice_date": "2026-08-05"}
    answers = await asyncio.gather(*(billing.call("POST", path, body) for _ in range(8)))
    assert {answer["number"] for answer in answers} == {"INV-2026-000001"}
    conn = await connect(billing.settings, "billing", "writer")
    assert await conn.fetchval("select last from series") == 1
    assert verify_chain(await store.load_chain(conn, "INV-2026")) == ()
    await conn.close()


async def test_an_unrated_draft_cannot_be_approved_and_says_why(billing):
    country = {"firm_id": "firm-1", "placement_id": "pl-1", "country": "MX",
               "effective_date": "2026-06-01"}  # fmt: skip
    await put(billing.settings, [event("placement.country_changed", "d9", country)], "admin:a")
    await put(billing.settings, [entry("a", 30)])
    run = await billing.run("2026-07", dry_run=True)
    report = run["firms"][0]["report"]
    assert [b["code"] for b in report["blocked"]] == ["unrated"]
    assert report["held"][0]["reason"] == "unrated"


async def test_a_firm_sees_its_own_issued_invoices_and_no_others(billing):
    await put(billing.settings, [entry("a", 30)])
    own = await token(billing.settings, "firm", ("firm-1",))
    run = await billing.run("2026-07")
    invoice_id = run["firms"][0]["invoice_id"]
    await billing.call("GET", f"/v1/invoices/{invoice_id}", bearer=own, status=404)
    await billing.call("POST", f"/v1/invoices/{invoice_id}/approve")
    issue = {"invoice_date": "2026-08-05"}
    await billing.call("POST", f"/v1/runs/{run['run_id']}/issue", issue)
    assert (await billing.call("GET", f"/v1/invoices/{invoice_id}", bearer=own))["number"]
    other = await token(billing.settings, "qa", ("firm-2",))
    await billing.call("GET", f"/v1/invoices/{invoice_id}", bearer=other, status=403)


async def test_a_rebuild_changes_neither_entries_nor_the_next_draft(billing):
    await put(billing.settings, [entry("a", 30), entry("b", 45, at=90)])
    before = await billing.run("2026-07", dry_run=True)
    conn = await connect(billing.settings, "billing", "writer")
    hashed = await store.state_hash(conn)
    await rebuild(conn)
    after = await billing.run("2026-07", dry_run=True)
    lines = [run["firms"][0]["report"]["lines"] for run in (before, after)]
    assert lines[0] == lines[1]
    assert await store.state_hash(conn) == hashed
    await put(billing.settings, [amended("a", 31, 1)])
    await billing.settle()
    assert await store.state_hash(conn) != hashed
    await conn.close()


async def test_every_statement_is_one_that_the_schema_knows(settings):
    conn = await connect(settings, "billing", "writer")
    for text in SQL.values():
        await conn.prepare(text)
    await conn.close()
