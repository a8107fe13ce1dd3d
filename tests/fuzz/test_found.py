"""What fuzzing has found, each told once more in its shortest form."""

import json
from datetime import UTC, datetime

from tests.fuzz.world import event


def test_a_month_outside_the_years_we_reckon_with_is_refused_by_its_place(world):
    for period in ("0000-01", "9999-12", "1969-12", "2200-01"):
        asked = [
            ("PUT", "/v1/firms/firm-1/billing-terms", {"effective_month": period}),
            ("POST", "/v1/runs", {"period": period}),
            ("GET", f"/v1/invoices?period={period}", None),
        ]
        for method, path, body in asked:
            status, answer = world.call("billing", method, path, body)
            assert (status, len(answer["errors"])) == (422, 1), (path, period, answer)
    terms = {"effective_month": "2199-12", "approval": "none"}
    assert world.call("billing", "PUT", "/v1/firms/firm-9/billing-terms", terms)[0] == 200


def test_a_source_that_is_none_is_not_told_again(world):
    words = event("task.started", "a-1", datetime.now(UTC), "call with the clerk", firm_id="firm-1",
                  placement_id="pl-1", task_id="t-1")  # fmt: skip
    raw = json.dumps(words).encode()
    media = "application/cloudevents+json"
    status, answer = world.call("ingest", "POST", "/v1/events", raw=raw, media=media,
                                who="connection")  # fmt: skip
    [told] = answer["errors"]
    assert (status, told["pointer"], told["source"], told["id"]) == (422, "/source", None, "a-1")
    assert "clerk" not in json.dumps(answer)
