"""A run is what its cut says: decided again later, whatever came since, it is the same bytes."""

import json

import pytest
from aiohttp.test_utils import TestServer

from services.billing.api import ROUTES
from services.folding import rebuild
from services.postgres import connect
from services.web.http import make_app
from tests.log import DIRECTORY, amended, entry, event, of_firm, put, voided
from tests.races.replays import replayed, same

SINCE = {"firm_id": "firm-1", "placement_id": "pl-1", "effective_date": "2026-07-01"}


async def change_everything(billing):
    """Change all that a run reads: hours, voids, rates, terms, country, approvals, another firm."""
    reused = entry("c", 20, at=400, event_id="e-a")  # the id of another entry's event
    await put(billing.settings, [amended("a", 50, 1), voided("b", 1), reused])
    moved = [event("placement.country_changed", "d8", SINCE | {"country": "MX"}),
             event("placement.phase_changed", "d9", SINCE | {"phase": "trial"})]  # fmt: skip
    await put(billing.settings, moved, "admin:a")
    card = {"role": "legal_assistant", "valid_from": "2026-07-01"}
    for country, rate in (("PH", "99.00"), ("MX", "77.00")):
        await billing.call("PUT", "/v1/rate-cards", card | {"country": country, "rate": rate})
    terms = {"approval": "required", "effective_month": "2026-07", "increment_minutes": 15}
    await billing.call("PUT", "/v1/firms/firm-1/billing-terms", terms)
    await put(billing.settings, [of_firm(body, "firm-2") for body in DIRECTORY], "admin:a")
    elsewhere = of_firm(DIRECTORY[1], "firm-3").replace(b'"as-3"', b'"as-1"')
    await put(billing.settings, [of_firm(DIRECTORY[0], "firm-3"), elsewhere], "admin:a")
    await put(billing.settings, [of_firm(entry("x", 300), "firm-3")])
    await billing.settle()


async def test_a_run_equals_its_replay_whatever_changed_since(billing):
    await put(billing.settings, [entry("a", 30), entry("b", 45, at=60)])
    dry = await billing.run("2026-07", dry_run=True)
    july = await billing.run("2026-07")
    await change_everything(billing)
    assert await replayed(billing, dry) == await replayed(billing, july) == same("firm-1")
    invoice_id = july["firms"][0]["invoice_id"]
    await billing.call("POST", f"/v1/invoices/{invoice_id}/approve")
    await billing.call("POST", f"/v1/invoices/{invoice_id}/issue", {"invoice_date": "2026-08-05"})
    august = await billing.run("2026-08")
    dates = {"from_date": "2026-07-01", "to_date": "2026-07-31"}
    await billing.call("POST", "/v1/firms/firm-1/timesheets/approve", dates)
    await billing.run_and_issue("2026-08", "2026-09-05")
    conn = await connect(billing.settings, "billing", "writer")
    await rebuild(conn)
    await conn.close()
    await billing.settle()
    for run in (dry, july):
        assert await replayed(billing, run) == same("firm-1")
    assert await replayed(billing, august) == same("firm-1", "firm-2", "firm-3")


async def test_an_assistant_who_only_has_a_running_timer_elsewhere_overlaps_then_and_later(billing):
    elsewhere = of_firm(DIRECTORY[1], "firm-3").replace(b'"as-3"', b'"as-1"')
    await put(billing.settings, [of_firm(DIRECTORY[0], "firm-3"), elsewhere], "admin:a")
    timer = {"firm_id": "firm-3", "placement_id": "pl-3", "entry_id": "t", "task_type": "intake"}
    await put(billing.settings, [entry("a", 30), event("timer.started", "t1", timer, minutes=10)])
    run = await billing.run("2026-07", firm_ids=["firm-1"])
    assert [h["reason"] for h in run["firms"][0]["report"]["held"]] == ["overlap"]
    await put(billing.settings, [event("timer.stopped", "t2", timer, minutes=40)])
    await billing.settle()
    assert await replayed(billing, run) == same("firm-1")


async def test_a_replay_names_what_differs(billing, owner):
    await put(billing.settings, [entry("a", 30)])
    issued = (await billing.run_and_issue("2026-07", "2026-08-05"))["issued"][0]
    run = await billing.call("GET", f"/v1/runs/{issued['run_id']}")
    assert await replayed(billing, run) == same("firm-1")
    await owner.execute("""update billing.run_firm set report =
        replace(report::text, '"seconds": 1800', '"seconds": 1801')::json""")
    assert await replayed(billing, run) == {"firm-1": ("differs", ["lines"])}
    await owner.execute("alter table billing.invoice disable trigger invoice_immutable")
    await owner.execute("""update billing.invoice
        set body = convert_to(replace(convert_from(body, 'utf8'), '"7.63"', '"7.64"'), 'utf8')""")
    assert await replayed(billing, run) == {"firm-1": ("differs", ["lines", "document"])}
    told = await billing.command("bill", "run", "--as-of", run["run_id"])
    assert told[0] == 1
    assert "differs: lines, document" in told[1]


async def test_the_command_shows_each_firm_and_ends_well_when_nothing_differs(billing):
    await put(billing.settings, [of_firm(body, "firm-2") for body in DIRECTORY], "admin:a")
    await put(billing.settings, [entry("a", 30)])
    run = await billing.run("2026-07")
    exit_code, out, err = await billing.command("bill", "run", "--as-of", run["run_id"])
    assert (exit_code, err.strip()) == (0, "")
    lines = [line.split() for line in out.splitlines() if line.startswith("firm-")]
    assert [(line[0], line[1], line[-1]) for line in lines] == [
        ("firm-1", "document", "same"),
        ("firm-2", "nothing_due", "same"),
    ]
    assert (await billing.command("bill", "run", "2026-07", "--as-of", run["run_id"]))[0] == 2
    one = await billing.command(
        "bill", "run", "--as-of", run["run_id"], "--firm", "firm-2", "--json"
    )
    assert [f["firm_id"] for f in json.loads(one[1])["firms"]] == ["firm-2"]


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ("update billing.consumer_offset set topic_id = gen_random_uuid()", "log_replaced"),
        ("update billing.consumer_offset set next = 0", "log_not_applied"),
        ("update billing.series_number set sha256 = 'x'", "series_changed"),
    ],
)
async def test_what_a_run_saw_and_is_gone_is_refused_by_name(billing, owner, broken, code):
    await put(billing.settings, [entry("a", 30)])
    await billing.run_and_issue("2026-07", "2026-08-05")
    run = await billing.run("2026-08")
    await billing.server.close()
    await owner.execute(broken)
    billing.server = TestServer(make_app("billing", ROUTES, billing.settings))  # no consumer
    await billing.server.start_server()
    path = f"/v1/runs/{run['run_id']}/replay"
    assert (await billing.call("GET", path, status=409))["code"] == code
    await billing.server.close()
