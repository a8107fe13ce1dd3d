"""The run report: a draft as JSON, in whole seconds and decimal texts."""

import json

from services.billing.reports import report
from tests.billing.story import Story, a_rate, terms


def test_a_report_tells_lines_buckets_and_holds():
    story = Story(card=(a_rate("r-1", "15.25"),), terms=(terms("required", 6),))
    story.record("e-1", "2026-07-06 25")
    story.record("e-2", "2026-07-07 60")
    story.start("e-3", "2026-07-31T10:00-04:00")
    story.approve("e-1")
    made = story.draft("2026-07")
    told = report(made)
    assert json.loads(json.dumps(told)) == told
    assert told.pop("issued_digest") == made.issued_digest
    (line,) = told.pop("lines")
    assert (line["amount"], line["hours"], line["entry_count"]) == (
        {"amount": "7.63", "currency": "USD"},
        "0.50",
        1,
    )
    before, after = told.pop("buckets"), told.pop("buckets_if_issued")
    assert before == [
        {
            "service_month": "2026-07",
            "worked_seconds": 5100,
            "billed_seconds": 0,
            "held_seconds": {"awaiting_issue": 1500, "unapproved": 3600},
            "non_billable_seconds": 0,
            "written_off_seconds": 0,
            "unexplained_seconds": 0,
            "rounding_seconds": 0,
        }
    ]
    assert (after[0]["billed_seconds"], after[0]["rounding_seconds"]) == (1500, 300)
    assert told == {
        "firm_id": "firm-1",
        "period": "2026-07",
        "run_id": "run-2026-07",
        "outcome": "document",
        "total": {"amount": "7.63", "currency": "USD"},
        "held": [
            {
                "reason": "unapproved",
                "service_month": "2026-07",
                "service_date": "2026-07-07",
                "entry_id": "e-2",
                "version": story.version("e-2"),
                "placement_id": "p-1",
                "assistant_id": "a-1",
                "seconds": 3600,
            }
        ],
        "open_timers": [
            {
                "entry_id": "e-3",
                "placement_id": "p-1",
                "started_at": "2026-07-31T14:00:00Z",
                "runaway": True,
            }
        ],
        "notices": [],
        "blocked": [],
    }
