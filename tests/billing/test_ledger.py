"""The ledger: issued lines added up by key and by entry, refused where they do not add up."""

from dataclasses import replace

import pytest

from services.billing.books import LineKey, Origin, Sums, UnbalancedError
from services.billing.ledger import Billed, open_ledger
from tests.billing.story import Story, a_rate, month

KEY = LineKey(month("2026-07"), "p-1", "r-1")
NINE_TO_TEN = "2026-07-06T09:00-04:00/2026-07-06T10:00-04:00"
NINE_TO_ELEVEN = "2026-07-06T09:00-04:00/2026-07-06T11:00-04:00"


def two_months():
    """An hour issued in July, two approved and adjusted in August."""
    story = Story()
    story.record("e-1", NINE_TO_TEN)
    story.issue("2026-07")
    story.amend("e-1", 1, NINE_TO_ELEVEN)
    story.issue("2026-08")
    return story


def test_a_keys_story_is_its_whole_with_its_first_line_and_stamp():
    story = two_months()
    issued = story.books("2026-09").issued
    ledger = open_ledger(reversed(issued))
    assert ledger.stories[KEY].sums == Sums(7200, 7200, 3000)
    assert ledger.stories[KEY].origin == Origin("INV-2026-0001", 1)
    assert ledger.stories[KEY].stamp == issued[0].line.stamp
    day = issued[0].line.rows[0].service_date
    version = story.version("e-1")
    assert ledger.entries == {"e-1": {KEY: {(version, day): Billed(7200, 7200)}}}
    assert ledger.versions == {"e-1": version}
    assert ledger.stamps == {("e-1", day, "p-1"): KEY}
    assert ledger.seconds_of("e-1") == {(KEY, day): 7200}
    assert ledger.seconds_of("e-2") == {}


@pytest.mark.parametrize("minutes", range(60, 68))
def test_the_version_that_was_billed_last_is_the_one_that_took_the_others_place(minutes):
    """Whichever of the two hashes is the greater: a line's rows stand in their order."""
    story = Story()
    story.record("e-1", f"2026-07-06 {minutes}")
    story.issue("2026-07")
    story.amend("e-1", 1, "2026-07-06 90")
    story.issue("2026-08")
    assert open_ledger(story.books("2026-09").issued).versions == {"e-1": story.version("e-1")}


def test_an_entry_that_was_taken_back_is_not_billed():
    story = Story()
    story.record("e-1", NINE_TO_TEN)
    story.record("e-2", "2026-07-07 120")
    story.issue("2026-07")
    story.void("e-1", 1)
    story.record("e-3", "2026-08-07 120")
    story.issue("2026-08")
    ledger = open_ledger(story.books("2026-09").issued)
    assert ledger.entries.keys() == {"e-2", "e-3"}
    assert ledger.seconds_of("e-1") == {}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda line: replace(line, new=replace_sums(line.new, amount_minor=1501)),
        lambda line: replace(line, old=Sums(1, 1, 0)),
    ],
    ids=["a cent more", "an old that was never issued"],
)
def test_lines_that_do_not_add_up_stop_everything(spoil):
    story = Story()
    story.record("e-1", NINE_TO_TEN)
    story.issue("2026-07")
    (issued,) = story.books("2026-08").issued
    with pytest.raises(UnbalancedError):
        open_ledger([replace(issued, line=spoil(issued.line))])


def test_a_line_left_out_stops_everything():
    story = two_months()
    with pytest.raises(UnbalancedError):
        open_ledger(story.books("2026-09").issued[1:])


def test_a_stamp_of_another_rate_stops_everything():
    story = Story(card=(a_rate("r-1", "15.00"),))
    story.record("e-1", NINE_TO_TEN)
    story.issue("2026-07")
    (issued,) = story.books("2026-08").issued
    other = replace(issued.line.stamp, rate_e4=150_100)
    with pytest.raises(UnbalancedError):
        open_ledger([replace(issued, line=replace(issued.line, stamp=other))])


def replace_sums(sums, **changes):
    return sums._replace(**changes)
