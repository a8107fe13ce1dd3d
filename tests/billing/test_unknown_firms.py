"""A firm that nobody has told billing of: what its calls say."""

import pytest

from services.settings import Settings
from tests.billing.conftest import Billing, token

DATES = "from=2026-07-01&to=2026-07-31"
NOT_FOUND = "urn:turnsheet:problem:not_found"


async def callers(settings: Settings) -> list[str]:
    return ["", await token(settings, "firm", ("firm-9",))]


@pytest.mark.parametrize("path", ["billing-terms", f"timesheets?{DATES}"])
async def test_a_firm_that_does_not_exist_is_not_found(billing: Billing, path):
    for bearer in await callers(billing.settings):
        told = await billing.call("GET", f"/v1/firms/firm-9/{path}", bearer=bearer, status=404)
        assert told["type"] == NOT_FOUND


async def test_nothing_is_approved_for_a_firm_that_does_not_exist(billing: Billing):
    for bearer in await callers(billing.settings):
        body = {"from_date": "2026-07-01", "to_date": "2026-07-31"}
        path = "/v1/firms/firm-9/timesheets/approve"
        told = await billing.call("POST", path, body, bearer=bearer, status=404)
        assert told["type"] == NOT_FOUND


async def test_terms_may_be_set_before_the_directory_has_told_of_their_firm(billing: Billing):
    path = "/v1/firms/firm-9/billing-terms"
    await billing.call("PUT", path, {"approval": "none", "effective_month": "2026-01"})
    told = await billing.call("GET", path)
    assert [version["approval"] for version in told["versions"]] == ["none"]
