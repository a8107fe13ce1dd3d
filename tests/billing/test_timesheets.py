"""Timesheets: a firm's entries by date, a page at a time, and what an approval of dates names."""

from tests.billing.conftest import Billing, token
from tests.log import entry, event, put

DAY = 24 * 60
PATH = "/v1/firms/firm-1/timesheets"
JULY = "from=2026-07-01&to=2026-07-31"


async def work(billing: Billing) -> None:
    """Have work of three dates in July, of one in August, and a timer that nobody stopped."""
    days = {"a": 0, "c": 1, "b": 1, "d": 2, "e": 40}
    recorded = [entry(entry_id, 30, at=day * DAY) for entry_id, day in days.items()]
    timer = {"firm_id": "firm-1", "placement_id": "pl-1", "entry_id": "f"}
    running = event("timer.started", "e-f", timer | {"task_type": "document_prep"})
    await put(billing.settings, [*recorded, running])
    await billing.settle()


async def pages(billing: Billing, query: str) -> list[list[str]]:
    """List the ids of each page, as the cursors lead."""
    found, cursor = [], ""
    while True:
        told = await billing.call("GET", f"{PATH}?{query}{cursor}")
        found.append([row["entry_id"] for row in told["entries"]])
        if told["next"] is None:
            return found
        cursor = f"&cursor={told['next']}"


async def test_entries_come_by_date_and_id_a_page_at_a_time(billing: Billing):
    await work(billing)
    cases = {
        JULY: [["a", "b", "c", "d"]],
        f"{JULY}&limit=4": [["a", "b", "c", "d"]],
        f"{JULY}&limit=3": [["a", "b", "c"], ["d"]],
        f"{JULY}&limit=2": [["a", "b"], ["c", "d"]],
        f"{JULY}&limit=1": [["a"], ["b"], ["c"], ["d"]],
        "from=2026-07-02&to=2026-07-02": [["b", "c"]],
        "from=2026-07-03&to=2026-08-31": [["d", "e"]],
        "from=2027-01-01&to=2027-01-31": [[]],
    }
    assert {query: await pages(billing, query) for query in cases} == cases


async def test_a_page_names_the_next_one_in_its_header_too(billing: Billing):
    await work(billing)
    url = billing.server.make_url(f"{PATH}?{JULY}&limit=3")
    headers = {"Authorization": f"Bearer {billing.finance}"}
    async with billing.session.get(url, headers=headers) as answer:
        following = answer.links["next"]["url"]
    async with billing.session.get(following, headers=headers) as answer:
        assert [row["entry_id"] for row in (await answer.json())["entries"]] == ["d"]
        assert "next" not in answer.links


async def test_a_row_tells_the_version_to_approve_and_whether_it_is(billing: Billing):
    await work(billing)
    first, second, *_ = (await billing.call("GET", f"{PATH}?{JULY}"))["entries"]
    assert first | {"version": ""} == {
        "entry_id": "a",
        "version": "",
        "placement_id": "pl-1",
        "assistant_id": "as-1",
        "status": "closed",
        "service_date": "2026-07-01",
        "seconds": 1800,
        "approved": False,
    }
    pair = {"entry_id": "b", "version": second["version"]}
    wrong = {"entry_id": "a", "version": second["version"]}
    told = await billing.call("POST", f"{PATH}/approve", {"entries": [pair, wrong]})
    assert told == {"approved": 2}
    rows = (await billing.call("GET", f"{PATH}?{JULY}"))["entries"]
    assert [row["entry_id"] for row in rows if row["approved"]] == ["b"]


async def test_an_approval_of_dates_names_what_stands_on_them_and_no_more(billing: Billing):
    await work(billing)
    firm = await token(billing.settings, "firm", ("firm-1",))
    dates = {"from_date": "2026-07-02", "to_date": "2026-07-03"}
    assert await billing.call("POST", f"{PATH}/approve", dates, bearer=firm) == {"approved": 3}
    rows = (await billing.call("GET", f"{PATH}?from=2026-07-01&to=2026-08-31"))["entries"]
    assert [row["entry_id"] for row in rows if row["approved"]] == ["b", "c", "d"]


async def test_what_cannot_be_asked_is_told_so(billing: Billing):
    await billing.settle()
    cases = {
        "from=2026-07-02&to=2026-07-01": "/query",
        f"{JULY}&limit=0": "/query/limit",
        f"{JULY}&limit=501": "/query/limit",
        f"{JULY}&cursor=x": "/query/cursor",
        f"{JULY}&cursor=WyJhIl0": "/query/cursor",  # one part
        f"{JULY}&cursor=WyJhIiwiYiJd": "/query/cursor",  # no date
        f"{JULY}&cursor=WyIyMDI2LTA3LTAxIiwiYVx1MDAwMGIiXQ": "/query/cursor",  # a NUL
    }
    for query, pointer in cases.items():
        told = await billing.call("GET", f"{PATH}?{query}", status=422)
        assert told["errors"][0]["pointer"] == pointer, (query, told)
    turned = {"from_date": "2026-07-02", "to_date": "2026-07-01"}
    for body in (turned, {"from_date": "2026-07-02"}):
        await billing.call("POST", f"{PATH}/approve", body, status=422)


async def test_the_terminal_lists_all_pages(billing: Billing):
    many = [entry(f"e{n:04}", 1, at=n) for n in range(501)]
    await put(billing.settings, many)
    await billing.settle()
    words = ("timesheet", "list", "firm-1", "--from", "2026-07-01", "--to", "2026-07-31")
    code, out, err = await billing.command(*words)
    assert (code, err) == (0, "")
    assert ("e0000" in out, "e0500" in out, out.count("pl-1")) == (True, True, 501)


async def test_an_approval_of_dates_names_a_quarter_at_most(billing: Billing):
    await work(billing)
    path = f"{PATH}/approve"
    long = {"from_date": "2026-04-24", "to_date": "2026-08-01"}
    refused = await billing.call("POST", path, long | {"to_date": "2026-08-02"}, status=422)
    assert [one["code"] for one in refused["errors"]] == ["span_too_long"]
    assert await billing.call("POST", path, long) == {"approved": 4}
    whole = ("timesheet", "approve", "firm-1", "--from", "1970-01-01", "--to", "2199-12-31")
    code, out, err = await billing.command(*whole)
    assert (code, "approve 100 days at most" in out + err) == (2, True)
