"""Several runs of one month: which drafts stand, which run closes a month, and what is approved."""

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.billing.conftest import Billing
from tests.locks import until_waiting
from tests.log import DIRECTORY, entry, of_firm, put, voided

TERMS = {"approval": "required", "effective_month": "2026-07"}
DATES = {"from_date": "2026-07-01", "to_date": "2026-07-31"}
DATE = {"invoice_date": "2026-08-05"}
HOLD_LOG = "lock table billing.fact in share mode"  # nothing more of the log is applied
HOLD_BOOKS = "select pg_advisory_xact_lock(hashtextextended('books ' || $1, 0))"
HOLD_SETTLING = "lock table billing.settlement in share mode"


async def two_firms(billing: Billing) -> None:
    """Have firm-1, whose work is billed as it comes, and firm-2, which approves its own first."""
    await put(billing.settings, [of_firm(body, "firm-2") for body in DIRECTORY], "admin:a")
    await billing.call("PUT", "/v1/firms/firm-2/billing-terms", TERMS)
    hours = [entry("a", 30), of_firm(entry("b", 60), "firm-2")]
    await put(billing.settings, hours)
    await billing.settle()


def firms_of(run: Any) -> dict[str, Any]:
    return {firm["firm_id"]: firm for firm in run["firms"]}


async def approve_all(billing: Billing) -> None:
    for item in (await billing.call("GET", "/v1/invoices?period=2026-07"))["invoices"]:
        await billing.call("POST", f"/v1/invoices/{item['invoice_id']}/approve")


async def drafts(billing: Billing) -> dict[str, str]:
    listed = (await billing.call("GET", "/v1/invoices"))["invoices"]
    return {item["firm_id"]: item["invoice_id"] for item in listed if item["state"] == "draft"}


async def states(billing: Billing) -> dict[str, str]:
    listed = (await billing.call("GET", "/v1/invoices"))["invoices"]
    return {item["firm_id"]: item["state"] for item in listed}


async def test_a_run_leaves_the_month_to_one_that_came_after_it(billing: Billing):
    await two_firms(billing)
    first = await billing.run("2026-07")
    assert firms_of(first)["firm-2"]["report"]["outcome"] == "nothing_due"
    await billing.call("POST", "/v1/firms/firm-2/timesheets/approve", DATES)
    second = await billing.run("2026-07", firm_ids=["firm-2"])
    await approve_all(billing)
    told = await billing.call("POST", f"/v1/runs/{first['run_id']}/issue", DATE)
    assert ([item["firm_id"] for item in told["issued"]], told["settled_without_document"]) == (
        ["firm-1"],
        [],
    )
    told = await billing.call("POST", f"/v1/runs/{second['run_id']}/issue", DATE)
    assert [item["number"] for item in told["issued"]] == ["INV-2026-000002"]


@pytest.mark.parametrize(
    ("firm_ids", "settled"), [(None, []), (["firm-2"], ["firm-1"])], ids=["all", "some"]
)
async def test_a_run_leaves_the_month_to_one_whose_firms_are_not_listed_yet(
    billing: Billing, owner: asyncpg.Connection, firm_ids: list[str] | None, settled: list[str]
):
    """Not to a dry run, nor to one of another month or of other firms."""
    await two_firms(billing)
    first = await billing.run("2026-06")
    later: list[dict[str, Any]] = [
        {"period": "2026-06", "dry_run": True},
        {"period": "2026-07"},
        {"period": "2026-06", "firm_ids": firm_ids},
    ]
    async with owner.transaction():
        await owner.execute(HOLD_LOG)
        await put(billing.settings, [of_firm(entry("c", 30, at=-3 * 24 * 60), "firm-2")])
        begun = [await billing.call("POST", "/v1/runs", told, status=202) for told in later]
        assert {run["state"] for run in begun} == {"waiting"}
        told = await billing.call("POST", f"/v1/runs/{first['run_id']}/issue", DATE)
    assert (told["settled_without_document"], told["refused"]) == (settled, [])
    await billing.ended(begun[-1]["run_id"])


async def test_a_run_that_begins_while_another_is_issued_decides_about_the_firms_that_are_left(
    billing: Billing, owner: asyncpg.Connection
):
    await two_firms(billing)
    first = await billing.run("2026-06")
    told = {"period": "2026-06"}
    other = await asyncpg.connect(billing.settings.database_url)
    async with owner.transaction():
        await owner.execute(HOLD_LOG)
        await put(billing.settings, [of_firm(entry("c", 30, at=-3 * 24 * 60), "firm-2")])
        async with other.transaction():
            await other.execute(HOLD_BOOKS, "firm-1")
            path = f"/v1/runs/{first['run_id']}/issue"
            issuing = asyncio.create_task(billing.call("POST", path, DATE))
            await until_waiting(owner, "advisory")
            beginning = asyncio.create_task(billing.call("POST", "/v1/runs", told, status=202))
            await until_waiting(owner, "advisory", 2)
        assert (await issuing)["settled_without_document"] == ["firm-1"]
        begun = await beginning
    await other.close()
    await billing.ended(begun["run_id"])


async def test_a_firm_whose_issue_fails_stops_no_other(billing: Billing, owner: asyncpg.Connection):
    await two_firms(billing)
    await billing.call("POST", "/v1/firms/firm-2/timesheets/approve", DATES)
    run = await billing.run("2026-07")
    await approve_all(billing)
    await owner.execute("alter table billing.invoice disable trigger invoice_immutable")
    await owner.execute("update billing.invoice set content = 'no JSON' where firm_id = 'firm-1'")
    told = await billing.call("POST", f"/v1/runs/{run['run_id']}/issue", DATE)
    assert [(item["firm_id"], item["number"]) for item in told["issued"]] == [
        ("firm-2", "INV-2026-000001")
    ]
    assert [(item["firm_id"], item["code"]) for item in told["refused"]] == [
        ("firm-1", "issue_failed")
    ]
    assert await states(billing) == {"firm-1": "approved", "firm-2": "issued"}


async def test_a_new_run_replaces_a_draft_but_not_what_is_approved(billing: Billing):
    await two_firms(billing)
    first = await billing.run("2026-07")
    second = await billing.run("2026-07")
    kept = firms_of(second)["firm-1"]["invoice_id"]
    assert kept is not None
    await billing.call("POST", f"/v1/invoices/{kept}/approve")
    stale = firms_of(first)["firm-1"]["invoice_id"]
    await billing.call("POST", f"/v1/invoices/{stale}/approve", status=409)
    third = await billing.run("2026-07")
    assert firms_of(third)["firm-1"]["invoice_id"] is None
    assert await states(billing) == {"firm-1": "approved"}
    told = await billing.call("POST", f"/v1/runs/{third['run_id']}/issue", DATE)
    assert [item["invoice_id"] for item in told["issued"]] == [kept]
    assert told["settled_without_document"] == ["firm-2"]


async def test_an_approval_is_taken_back_until_it_is_issued(billing: Billing):
    await two_firms(billing)
    drafted = firms_of(await billing.run("2026-07"))["firm-1"]["invoice_id"]
    path = f"/v1/invoices/{drafted}"
    await billing.call("POST", f"{path}/approve")
    assert (await billing.call("POST", f"{path}/withdraw"))["state"] == "draft"
    assert (await billing.call("POST", f"{path}/withdraw"))["state"] == "draft"
    again = firms_of(await billing.run("2026-07"))["firm-1"]["invoice_id"]
    assert again not in {None, drafted}
    await billing.call("POST", f"/v1/invoices/{again}/approve")
    await billing.call("POST", f"/v1/invoices/{again}/issue", DATE)
    await billing.call("POST", f"/v1/invoices/{again}/withdraw", status=409)
    await billing.call("POST", f"{path}/withdraw", status=409)


async def test_an_invoice_goes_one_step_at_a_time(billing: Billing):
    await two_firms(billing)
    drafted = firms_of(await billing.run("2026-07"))["firm-1"]["invoice_id"]
    path = f"/v1/invoices/{drafted}"
    refused = await billing.call("POST", f"{path}/issue", DATE, status=409)
    assert (refused["code"], refused["title"]) == ("not_approved", "This invoice is draft")
    for _ in range(2):
        assert (await billing.call("POST", f"{path}/approve"))["state"] == "approved"
    for _ in range(2):
        assert (await billing.call("POST", f"{path}/issue", DATE))["number"] == "INV-2026-000001"
    for step, code in (("approve", "not_a_draft"), ("withdraw", "not_approved")):
        refused = await billing.call("POST", f"{path}/{step}", status=409)
        assert (refused["code"], refused["title"]) == (code, "This invoice is issued")


async def test_what_was_drafted_beside_a_settled_month_is_over(billing: Billing):
    """A draft that is made after its month was settled is never approved."""
    await two_firms(billing)
    await billing.run_and_issue("2026-07", "2026-08-05")
    await put(billing.settings, [entry("c", 30)])
    late = await billing.run("2026-07")
    assert firms_of(late)["firm-1"]["report"]["blocked"][0]["code"] == "period_settled"
    assert await states(billing) == {"firm-1": "issued"}


async def test_no_draft_is_kept_beside_a_month_that_was_settled_after_the_cut(
    billing: Billing, owner: asyncpg.Connection
):
    """It could never be approved, and no later run would take it away."""
    await two_firms(billing)
    first = await billing.run("2026-07", firm_ids=["firm-1"])
    await approve_all(billing)
    async with owner.transaction():
        await owner.execute(HOLD_LOG)
        await put(billing.settings, [entry("c", 30, at=60)])
        second = await billing.call("POST", "/v1/runs", {"period": "2026-07"}, status=202)
        told = await billing.call("POST", f"/v1/runs/{first['run_id']}/issue", DATE)
        assert [item["number"] for item in told["issued"]] == ["INV-2026-000001"]
    run = firms_of(await billing.ended(second["run_id"]))["firm-1"]
    assert (run["report"]["outcome"], run["invoice_id"]) == ("document", None)
    assert await states(billing) == {"firm-1": "issued"}
    path = f"/v1/runs/{second['run_id']}/replay?firm_id=firm-1"
    assert [firm["state"] for firm in (await billing.call("GET", path))["firms"]] == ["same"]


async def test_a_draft_of_a_month_before_the_first_settled_one_is_over_with_the_next_run(
    billing: Billing,
):
    """Whatever keeps a month from being billed keeps its drafts from being issued."""
    await put(billing.settings, [entry("a", 30), entry("b", 60, at=-3 * 24 * 60)])
    june = await billing.run("2026-06")
    assert june["firms"][0]["invoice_id"] is not None
    await billing.run_and_issue("2026-07", "2026-08-05")
    june = await billing.run("2026-06")
    assert june["firms"][0]["report"]["blocked"][0]["code"] == "period_before_first"
    assert (await billing.call("GET", "/v1/invoices?period=2026-06"))["invoices"] == []


async def run_that_bills_nothing(billing: Billing) -> tuple[str, str]:
    """Have firm-2's July drafted, voided and run again; return that draft and that run."""
    await two_firms(billing)
    await billing.call("POST", "/v1/firms/firm-2/timesheets/approve", DATES)
    drafted = firms_of(await billing.run("2026-07"))["firm-2"]["invoice_id"]
    await billing.call("POST", f"/v1/invoices/{drafted}/approve")
    await put(billing.settings, [of_firm(voided("b", 1), "firm-2")])
    run = await billing.run("2026-07")
    assert firms_of(run)["firm-2"]["report"]["outcome"] == "nothing_due"
    await billing.call("POST", f"/v1/invoices/{drafted}/withdraw")
    return drafted, run["run_id"]


async def test_a_month_of_which_an_invoice_was_approved_meanwhile_is_not_closed_without_it(
    billing: Billing, owner: asyncpg.Connection
):
    """The firms of a call are listed first, and have their turn one after the other."""
    drafted, run_id = await run_that_bills_nothing(billing)
    await billing.call("POST", f"/v1/invoices/{(await drafts(billing))['firm-1']}/approve")
    async with owner.transaction():
        await owner.execute(HOLD_BOOKS, "firm-1")
        issuing = asyncio.create_task(billing.call("POST", f"/v1/runs/{run_id}/issue", DATE))
        await until_waiting(owner, "advisory")
        await billing.call("POST", f"/v1/invoices/{drafted}/approve")
    told = await issuing
    assert [item["firm_id"] for item in told["issued"]] == ["firm-1"]
    assert (told["settled_without_document"], told["refused"]) == ([], [])
    assert await states(billing) == {"firm-1": "issued", "firm-2": "approved"}
    told = await billing.call("POST", f"/v1/runs/{run_id}/issue", DATE)
    assert [item["invoice_id"] for item in told["issued"]] == [drafted]


async def test_an_approval_waits_for_a_month_that_is_being_closed(
    billing: Billing, owner: asyncpg.Connection
):
    """Either comes first and the other is refused: no approval is undone unheard."""
    drafted, run_id = await run_that_bills_nothing(billing)
    async with owner.transaction():
        await owner.execute(HOLD_SETTLING)
        issuing = asyncio.create_task(billing.call("POST", f"/v1/runs/{run_id}/issue", DATE))
        await until_waiting(owner, "relation")
        approving = asyncio.create_task(
            billing.call("POST", f"/v1/invoices/{drafted}/approve", status=409)
        )
        waiting = asyncio.create_task(until_waiting(owner, "advisory"))
        await asyncio.wait({approving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    assert (await issuing)["settled_without_document"] == ["firm-2"]
    assert (await approving)["title"] == "This invoice is superseded"


async def test_a_run_is_issued_some_firms_at_a_time(billing: Billing):
    await two_firms(billing)
    run = await billing.run("2026-07")
    await approve_all(billing)
    path = f"/v1/runs/{run['run_id']}/issue"
    first = await billing.call("POST", f"{path}?limit=1", DATE)
    assert (len(first["issued"]), first["next"]) == (1, "firm-1")
    second = await billing.call("POST", f"{path}?limit=1&after={first['next']}", DATE)
    assert (second["settled_without_document"], second["next"]) == (["firm-2"], "firm-2")
    third = await billing.call("POST", f"{path}?limit=1&after={second['next']}", DATE)
    assert third == {"issued": [], "settled_without_document": [], "refused": [], "next": None}
    for limit in (0, 201):
        await billing.call("POST", f"{path}?limit={limit}", DATE, status=422)


async def test_the_runs_of_a_month_are_listed_the_newest_first(billing: Billing):
    await two_firms(billing)
    first = await billing.run("2026-07")
    second = await billing.run("2026-07", dry_run=True, firm_ids=["firm-1"])
    runs = (await billing.call("GET", "/v1/runs?period=2026-07"))["runs"]
    assert [(run["run_id"], run["dry_run"], run["firms"], run["done"]) for run in runs] == [
        (second["run_id"], True, 1, 1),
        (first["run_id"], False, 2, 2),
    ]
    assert {run["state"] for run in runs} == {"done"}
    assert (await billing.call("GET", "/v1/runs?period=2026-06"))["runs"] == []
    light = await billing.call("GET", f"/v1/runs/{first['run_id']}?reports=false")
    assert [firm["report"] for firm in light["firms"]] == [None, None]


async def test_the_terminal_settles_a_month_in_which_nothing_is_billed(billing: Billing):
    await billing.settle()
    await billing.run("2026-07")
    issue = ("bill", "issue", "--period", "2026-07", "--date", "2026-08-05")
    code, out, err = await billing.command(*issue)
    assert (code, "settled without a document: firm-1" in out, err) == (0, True, "")
    code, out, err = await billing.command(*issue)
    assert (code, "nothing of this month is approved" in out + err) == (1, True)


async def test_a_line_is_asked_for_by_a_whole_number(billing: Billing):
    await two_firms(billing)
    run = await billing.run_and_issue("2026-07", "2026-08-05")
    path = f"/v1/invoices/{run['issued'][0]['number']}/lines"
    assert (await billing.call("GET", f"{path}/1/explain"))["line_number"] == 1
    for line in ("1.5", "x", "0"):
        await billing.call("GET", f"{path}/{line}/explain", status=422)
    await billing.call("GET", f"{path}/1.0/explain")
    await billing.call("GET", f"{path}/2/explain", status=404)


async def test_a_rate_of_a_placement_ends_where_its_next_one_begins(billing: Billing):
    """Whatever country and role they were set with: neither is part of a placement's rate."""
    await two_firms(billing)
    of = {"firm_id": "firm-1", "placement_id": "pl-1"}
    old = of | {"country": "PH", "role": "legal_assistant", "rate": "9", "valid_from": "2026-01-01"}
    new = of | {"rate": "14", "valid_from": "2026-07-16"}
    await billing.call("PUT", "/v1/rate-cards", old)
    await billing.call("PUT", "/v1/rate-cards", new)
    rates = (await billing.call("GET", "/v1/rate-cards"))["rates"]
    assert [
        (rate["country"], rate["rate"], rate["valid_from"], rate["valid_to"])
        for rate in rates
        if rate["placement_id"] == "pl-1"
    ] == [("*", "9.00", "2026-01-01", "2026-07-16"), ("*", "14.00", "2026-07-16", None)]
    for wrong in (
        {"rate": "9", "valid_from": "2026-01-01"},
        {"country": "PH", "rate": "9", "valid_from": "2026-01-01"},
        of | {"rate": "9", "valid_from": "2026-01-01", "valid_to": "2026-01-01"},
        {"placement_id": "pl-1", "rate": "9", "valid_from": "2026-01-01"},
        of | {"rate": "9", "valid_from": 1785888000},
    ):
        await billing.call("PUT", "/v1/rate-cards", wrong, status=422)


async def test_terms_at_the_terminal_say_what_is_left_out(billing: Billing):
    await billing.settle()
    words = ("terms", "set", "firm-1", "--from", "2026-08", "--exclude-kind", "training",
             "--exclude-phase", "trial")  # fmt: skip
    assert (await billing.command(*words))[0] == 0
    told = await billing.call("GET", "/v1/firms/firm-1/billing-terms")
    assert told["versions"][-1]["excluded_kinds"] == ["training"]
    assert told["versions"][-1]["excluded_phases"] == ["trial"]
