"""Lists of billing come a page at a time, whatever there is to list."""

import json
import re
from typing import Any

from tests.billing.conftest import Billing, token
from tests.log import DIRECTORY, entry, of_firm, put

FIRMS = """
insert into billing.run_firm (firm_id, run_id, done, report)
select 'other-' || lpad(n::text, 3, '0'), run_id, true, report
from billing.run_firm, generate_series(1, 120) n where run_id = $1 and firm_id = 'firm-1'
"""
INVOICES = """
insert into billing.invoice (firm_id, invoice_id, period, run_id, state, currency, total_minor,
                             content, issued_digest, blocked)
select 'other-' || n, 'more-' || n, period, run_id, 'draft', currency, total_minor, content,
       issued_digest, blocked
from billing.invoice, generate_series(1, 600) n
"""
TERMS = {"approval": "none", "effective_month": "2026-01"}
NEXT = re.compile(r'<([^>]+)>; rel="next"')


async def pages(billing: Billing, path: str, bearer: str = "") -> list[Any]:
    """Follow the links from page to page."""
    found, following = [], path
    while following:
        url = billing.server.make_url(following)
        headers = {"Authorization": f"Bearer {bearer or billing.finance}"}
        async with billing.session.get(url, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            found.append(await answer.json())
            link = NEXT.fullmatch(answer.headers.get("Link", ""))
        assert (found[-1]["next"] is None) == (link is None)
        following = link[1] if link else ""
    return found


async def two_firms(billing: Billing) -> None:
    await put(billing.settings, [of_firm(body, "firm-2") for body in DIRECTORY], "admin:a")
    await billing.call("PUT", "/v1/firms/firm-2/billing-terms", TERMS)
    await put(billing.settings, [entry("a", 30), of_firm(entry("b", 60), "firm-2")])


async def test_a_run_shows_its_firms_a_page_at_a_time_and_counts_them_all(billing: Billing, owner):
    await two_firms(billing)
    run_id = (await billing.run("2026-07"))["run_id"]
    await owner.execute("alter table billing.run_firm no force row level security")
    await owner.execute(FIRMS, run_id)
    for query, sizes in (("", [50, 50, 22]), ("?limit=40&reports=false", [40, 40, 40, 2])):
        found = await pages(billing, f"/v1/runs/{run_id}{query}")
        assert [len(page["firms"]) for page in found] == sizes
        assert {(page["firm_count"], page["done_count"]) for page in found} == {(122, 122)}
        firms = [firm for page in found for firm in page["firms"]]
        assert [firm["firm_id"] for firm in firms] == sorted({firm["firm_id"] for firm in firms})
        assert {firm["report"] is None for firm in firms} == {bool(query)}
    await billing.call("GET", f"/v1/runs/{run_id}?limit=51", status=422)


async def test_a_run_that_is_begun_again_shows_no_more_than_a_page(billing: Billing, owner):
    await billing.settle()
    url, body = billing.server.make_url("/v1/runs"), {"period": "2026-07"}
    headers = {"Authorization": f"Bearer {billing.finance}", "Idempotency-Key": "once"}
    async with billing.session.post(url, json=body, headers=headers) as answer:
        run_id = (await answer.json())["run_id"]
    await billing.ended(run_id)
    await owner.execute("alter table billing.run_firm no force row level security")
    await owner.execute(FIRMS, run_id)
    async with billing.session.post(url, json=body, headers=headers) as answer:
        assert len((await answer.json())["firms"]) == 50
        link = NEXT.fullmatch(answer.headers["Link"])
    assert link is not None
    assert len((await billing.call("GET", link[1]))["firms"]) == 50


async def test_invoices_are_listed_a_page_at_a_time_the_newest_month_first(billing: Billing):
    await two_firms(billing)
    for period, invoice_date in (("2026-07", "2026-08-05"), ("2026-08", "2026-09-05")):
        await billing.run_and_issue(period, invoice_date)
        late = entry(f"c-{period}", 10, at=600 if period == "2026-07" else 700)
        await put(billing.settings, [late, of_firm(late, "firm-2")])
    await billing.run("2026-09")
    whole = [(period, firm_id) for period in ("2026-09", "2026-08", "2026-07")
             for firm_id in ("firm-1", "firm-2")]  # fmt: skip
    own = await token(billing.settings, "firm", ("firm-1",))
    both = await token(billing.settings, "firm", ("firm-1", "firm-2"))
    for bearer, query, expected in (
        ("", "", whole),
        ("", "&period=2026-08", whole[2:4]),
        ("", "&firm_id=firm-2", whole[1::2]),
        (own, "", whole[2::2]),
        (both, "", whole[2:]),
        (both, "&firm_id=firm-2", whole[3::2]),
        (own, "&firm_id=firm-2", []),
    ):
        found = await pages(billing, f"/v1/invoices?limit=1{query}", bearer)
        listed = [invoice for page in found for invoice in page["invoices"]]
        assert {len(page["invoices"]) for page in found} <= {0, 1}
        assert [(item["period"], item["firm_id"]) for item in listed] == expected
    await billing.call("GET", "/v1/invoices?limit=501", status=422)
    await billing.call("GET", "/v1/invoices?cursor=x", status=422)


async def test_the_terminal_lists_all_pages(billing: Billing, owner):
    bodies = [of_firm(body, f"firm-{n}") for n in range(2, 53) for body in DIRECTORY]
    await put(billing.settings, [*bodies], "admin:a")
    await put(billing.settings, [entry("a", 30)])
    code, out, err = await billing.command("bill", "run", "2026-07", "--json")
    assert (code, err) == (0, "")
    run = json.loads(out)
    assert len(run["firms"]) == run["firm_count"] == 52
    assert {firm["report"]["outcome"] for firm in run["firms"]} == {"document", "nothing_due"}
    code, out, err = await billing.command("bill", "run", "--as-of", run["run_id"], "--json")
    assert (code, len(json.loads(out)["firms"]), err) == (0, 52, "")
    await owner.execute("alter table billing.invoice no force row level security")
    await owner.execute(INVOICES)
    code, out, err = await billing.command("bill", "list", "--json")
    assert (code, len(json.loads(out)["invoices"]), err) == (0, 601, "")


async def test_a_replay_of_one_firm_goes_on_to_no_other(billing: Billing):
    await two_firms(billing)
    path = f"/v1/runs/{(await billing.run('2026-07'))['run_id']}/replay"
    found = await pages(billing, f"{path}?limit=1")
    assert [firm["firm_id"] for page in found for firm in page["firms"]] == ["firm-1", "firm-2"]
    (only,) = await pages(billing, f"{path}?limit=1&firm_id=firm-1")
    assert [firm["firm_id"] for firm in only["firms"]] == ["firm-1"]
