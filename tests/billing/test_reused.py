"""One event id under two entries: both are held, until as few stand as there should be."""

from dataclasses import replace

import pytest

from schemas.facts import Cut
from services.billing.reused import sharing_an_id
from tests.billing.story import TRACKER, Story, at
from tests.log import entry, event, put

WORK = "2026-07-06T09:00-04:00/2026-07-06T10:00-04:00"
INSIDE = Cut({("time-events", 0): 1_000}, at("2026-08-01T00:00-04:00"))


def recorded(story, entry_id, fact_id, source=TRACKER):
    """Record an entry by an event of a chosen id."""
    story.record(entry_id, WORK, fact_id=fact_id, source=source)


def retracted(story, entry_id, fact_id, principal="tracker:a-1"):
    """Take back an event of an entry, as somebody."""
    story.retract(entry_id, fact_id)
    facts = story.facts[entry_id]
    facts[-1] = replace(facts[-1], principal=principal)


CASES = {
    "each has ids of its own": ([("a", "1"), ("b", "2")], [], set()),
    "two share one": ([("a", "1"), ("b", "1"), ("c", "2")], [], {"a", "b"}),
    "sent again under one entry": ([("a", "1"), ("a", "1"), ("b", "2")], [], set()),
    "of two sources": ([("a", "1"), ("b", "1", "tracker/a-1/desk")], [], set()),
    "one is retracted": ([("a", "1"), ("b", "1")], [("a", "1")], set()),
    "both are retracted": ([("a", "1"), ("b", "1")], [("a", "1"), ("b", "1")], set()),
    "one of three is retracted": (
        [("a", "1"), ("b", "1"), ("c", "1")],
        [("b", "1")],
        {"a", "c"},
    ),
    "another event of one is retracted": (
        [("a", "1"), ("a", "2"), ("b", "1")],
        [("a", "2")],
        {"a", "b"},
    ),
    "one shares two, and one of these is retracted": (
        [("a", "1"), ("a", "2"), ("b", "1"), ("c", "2")],
        [("b", "1")],
        {"a", "c"},
    ),
    "retracted by somebody else": ([("a", "1"), ("b", "1")], [("a", "1", "firm:f")], {"a", "b"}),
    "retracted by an admin": ([("a", "1"), ("b", "1")], [("a", "1", "admin:x")], set()),
}


@pytest.mark.parametrize("told", CASES.values(), ids=CASES)
def test_entries_share_an_id_as_long_as_it_stands_under_several(told):
    sent, taken_back, sharing = told
    story = Story()
    for one in sent:
        recorded(story, *one)
    for one in taken_back:
        retracted(story, *one)
    facts = {found[0].entity: found for found in story.facts.values()}
    assert sharing_an_id(facts, INSIDE) == sharing


def test_what_lies_beyond_the_cut_neither_shares_nor_lifts():
    story = Story()
    recorded(story, "a", "1")
    recorded(story, "b", "1")
    facts = {found[0].entity: found for found in story.facts.values()}
    assert sharing_an_id(facts, Cut({("time-events", 0): 1_000}, at("2026-07-01T00:00Z"))) == set()
    retracted(story, "b", "1")  # lies on the log behind the two
    assert sharing_an_id(facts, Cut({("time-events", 0): 1}, INSIDE.instant)) == {"a", "b"}


def lines_and_holds(run):
    """What a run bills of July, and why it holds the rest."""
    report = run["firms"][0]["report"]
    billed = report["buckets_if_issued"][-1]["billed_seconds"]
    return billed, sorted((h["entry_id"], h["reason"]) for h in report["held"])


async def test_a_reused_id_holds_both_entries_until_one_is_retracted(billing):
    await put(
        billing.settings,
        [entry("a", 30, event_id="e-1"), entry("b", 20, at=60, event_id="e-1"),
         entry("c", 10, at=120)],
    )  # fmt: skip
    held = lines_and_holds(await billing.run("2026-07", dry_run=True))
    assert held == (600, [("a", "id_reused"), ("b", "id_reused")])
    data = {"firm_id": "firm-1", "placement_id": "pl-1", "entry_id": "a", "reason": "mistake"}
    data |= {"target_source": "tracker/as-1", "target_id": "e-1"}
    await put(billing.settings, [event("event.retracted", "r-1", data, minutes=200)])
    assert lines_and_holds(await billing.run("2026-07", dry_run=True)) == (1_800, [])
