"""A tool's export becomes an invoice, and the same file again changes nothing."""

import json
import tomllib

from tests.ingest.conftest import running
from tests.ingest.exports import RULES, TOGGL, file_of, toggl

MAPPING = tomllib.loads(RULES.replace('"p-1"', '"pl-1"').replace('"f-1"', '"firm-1"'))
ROWS = [
    toggl("2026-07-02 09:00:00", "2026-07-02 10:00:00"),
    toggl("2026-07-03 09:00:00", "2026-07-03 10:30:00"),
    toggl(project="Golf"),
]


async def bring(door, token):
    body = json.dumps({"csv": file_of(TOGGL, *ROWS).decode(), "mapping": MAPPING}).encode()
    path = "/v1/imports?format=toggl&timezone=Asia/Manila"
    reply = await door.post(token, body, "application/json", path)
    assert reply.status == 200, reply.body
    assert [row["code"] for row in reply.body["refusals"]] == ["unmapped"]
    return reply.body["accepted"], reply.body["known"]


async def test_an_export_becomes_an_invoice_once(billing):
    async with running(billing.settings) as door:
        token = await door.admin()
        await door.knows_placement("pl-1")
        assert await bring(door, token) == (2, 0)
        issued = await billing.run_and_issue("2026-07", "2026-08-05")
        assert [(i["firm_id"], i["total"]["amount"]) for i in issued["issued"]] == [
            ("firm-1", "38.13")
        ]
        told = await billing.call("GET", "/v1/invoices/INV-2026-000001/lines/1/explain")
        assert told["steps"][-1] == "2.50 hours at 15.25 USD = 38.13 USD"
        sources = [fact["source"] for item in told["entries"] for fact in item["facts"]]
        assert sources == ["import/toggl"] * 2
        assert await bring(door, token) == (0, 2)
    run = await billing.run("2026-08")
    assert run["firms"][0]["report"]["outcome"] == "nothing_due"
