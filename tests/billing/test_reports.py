"""The run report: a draft as JSON, in whole seconds and decimal texts."""

import json

from services.billing.books import OtherSpan
from services.billing.reports import report
from tests.billing.story import Story, a_firm, a_placement, a_rate, at, terms


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


def test_an_adjustment_tells_old_new_and_difference_and_the_line_that_it_changes():
    story = Story(card=(a_rate("r-1", "15.25"),), terms=(terms(minutes=6),))
    story.record("e-1", "2026-07-06T23:00-04:00/2026-07-07T00:57-04:00")
    story.issue("2026-07")
    story.amend("e-1", 1, "2026-07-06T23:00-04:00/2026-07-07T00:28-04:00")
    story.record("e-2", "2026-08-06 60")
    regular, adjustment = report(story.draft("2026-08"))["lines"]
    assert (regular["line_number"], regular["original"]) == (1, None)
    assert adjustment == {
        "line_number": 2,
        "kind": "adjustment",
        "service_month": "2026-07",
        "placement_id": "p-1",
        "assistant_id": "a-1",
        "role": "legal_assistant",
        "country": "PH",
        "rate": "15.25",
        "rate_version": "r-1",
        **sums(-1740, -1800, "-0.50", "-7.62"),
        "old": sums(7020, 7200, "2.00", "30.50"),
        "new": sums(5280, 5400, "1.50", "22.88"),
        "original": {"number": "INV-2026-0001", "line_number": 1},
        "entry_count": 1,
    }


def sums(seconds, rounded_seconds, hours, amount):
    return {
        "seconds": seconds,
        "rounded_seconds": rounded_seconds,
        "hours": hours,
        "amount": {"amount": amount, "currency": "USD"},
    }


def test_a_report_tells_what_is_pending_what_should_be_seen_and_what_blocks():
    story = Story(card=(a_rate("r-1", "15.00", "PH"),), terms=(terms("required"),))
    story.placements["p-2"] = a_placement("p-2", "a-2", "IN")
    story.record("e-1", "2026-07-06T09:00-04:00/2026-07-06T10:00-04:00")
    story.record("e-2", "2026-07-07 60")
    story.approve("e-1", "e-2")
    story.issue("2026-07")
    story.amend("e-2", 1, "2026-07-07 30")
    story.record("e-3", "2026-08-06 15", billable=False)
    story.record("e-4", "2026-08-06 60", placement_id="p-2")
    story.other_spans = (
        OtherSpan("a-1", at("2026-07-06T09:30-04:00"), at("2026-07-06T09:40-04:00")),
    )
    told = report(story.draft("2026-08"))
    assert [(one["reason"], one["service_date"], one["seconds"]) for one in told["held"]] == [
        ("pending_change", None, -1800),
        ("unrated", "2026-08-06", 3600),
    ]
    assert told["notices"] == [
        {"code": "billed_overlap", "entry_id": "e-1", "detail": "what is billed stays billed"}
    ]
    assert told["blocked"] == [{"code": "unrated", "detail": "p-2 IN legal_assistant active"}]
    july, august = told["buckets"]
    assert (july["billed_seconds"], july["held_seconds"]) == (7200, {"pending_change": -1800})
    assert (august["non_billable_seconds"], august["written_off_seconds"]) == (900, 0)


def test_amounts_have_the_places_of_the_firms_currency():
    story = Story(firm=a_firm(currency="JPY"), card=(a_rate("r-1", "1500.5", currency="JPY"),))
    story.record("e-1", "2026-07-06 60")
    told = report(story.draft("2026-07"))
    assert [told["total"], told["lines"][0]["amount"]] == [
        {"amount": "1501", "currency": "JPY"}
    ] * 2
