"""Lines: what they carry, how they are rounded, and in which order they stand."""

from dataclasses import replace
from datetime import date

from services.billing.books import Increment, Origin, Row, Sums
from tests.billing.story import Story, a_placement, a_rate, held, month, shown, terms, timeline

NIGHT = "2026-07-15T22:00-04:00/2026-07-16T02:00:01-04:00"


def test_a_line_says_what_it_is_of_and_from():
    story = Story(terms=(terms(minutes=6),))
    story.record("e-1", NIGHT)
    (line,) = story.draft("2026-07").lines
    assert (line.kind, line.old, line.original) == ("regular", Sums(), None)
    assert line.new == line.difference == Sums(14_401, 14_760, 6_150)
    assert (line.stamp.assistant_id, line.stamp.role, line.stamp.country) == (
        "a-1",
        "legal_assistant",
        "PH",
    )
    assert (line.stamp.terms_id, line.stamp.terms_version) == ("terms-1", 1)
    assert line.stamp.increment == Increment(6, "up")
    version = story.version("e-1")
    assert line.rows == (
        Row("e-1", version, date(2026, 7, 15), 7_200, 7_200),
        Row("e-1", version, date(2026, 7, 16), 7_201, 7_560),
    )


def test_an_entry_is_rounded_once_under_each_key_not_once_a_date():
    story = Story(
        placements={"p-1": a_placement(countries=timeline("PH", ("2026-07-16", "IN")))},
        card=(a_rate("r-PH", "10.00", "PH"), a_rate("r-IN", "10.00", "IN")),
        terms=(terms(minutes=6),),
    )
    story.record("e-1", "2026-07-14T23:59-04:00/2026-07-15T00:01-04:00")
    story.record("e-2", "2026-07-15T23:59-04:00/2026-07-16T00:01-04:00")
    story.record("e-3", "2026-07-20 1")
    found = {line.key.rate_id: line.new for line in story.draft("2026-07").lines}
    assert found == {"r-PH": Sums(180, 720, 200), "r-IN": Sums(120, 720, 200)}


def test_what_rounding_adds_to_an_entry_stands_on_the_dates_that_cross_a_step():
    story = Story(terms=(terms(minutes=6),))
    story.record("e-1", "2026-07-14T23:59-04:00/2026-07-15T00:01-04:00")
    story.record("e-2", "2026-07-19T23:57-04:00/2026-07-20T00:04-04:00")
    (line,) = story.draft("2026-07").lines
    assert [(row.entry_id, row.seconds, row.rounded_seconds) for row in line.rows] == [
        ("e-1", 60, 360),
        ("e-1", 60, 0),
        ("e-2", 180, 360),
        ("e-2", 240, 360),
    ]


def test_each_month_is_rounded_by_its_own_terms():
    later = terms(minutes=6, version=2, effective_month=month("2026-08"))
    story = Story(terms=(terms(minutes=15), later))
    story.record("e-1", "2026-07-06 61")
    story.record("e-2", "2026-08-06 61")
    assert [
        (str(line.key.service_month), line.stamp.terms_version, line.new.rounded_seconds // 60)
        for line in story.draft("2026-08").lines
    ] == [("2026-08", 2, 66), ("2026-07", 1, 75)]


def test_an_adjustment_shows_old_new_difference_and_the_original_line():
    story = Story(terms=(terms(minutes=15, direction="nearest"),))
    story.record("e-1", "2026-07-06 50")
    story.record("e-2", "2026-07-07 20")
    story.issue("2026-07")
    story.amend("e-1", 1, "2026-07-06 30")
    story.record("e-3", "2026-08-03 60")
    story.issue("2026-08")
    story.amend("e-1", 2, "2026-07-06 90")
    (line,) = story.draft("2026-09").lines
    assert (line.kind, line.original) == ("adjustment", Origin("INV-2026-0001", 1))
    assert line.old == Sums(3_000, 2_700, 1_125)
    assert line.new == Sums(6_600, 6_300, 2_625)
    assert line.difference == Sums(3_600, 3_600, 1_500)


def test_seconds_that_change_make_a_line_also_when_it_is_of_no_amount():
    story = Story(card=(a_rate("r-1", "9.00"),))
    story.record("e-1", "2026-07-06T09:00:00-04:00/2026-07-06T10:00:00-04:00")
    story.issue("2026-07")
    story.amend("e-1", 1, "2026-07-06T09:00:00-04:00/2026-07-06T10:00:01-04:00")
    made = story.draft("2026-08")
    assert (made.outcome, shown(made)) == ("document", ["2026-07 p-1 r-1 adjustment 1 s 0.00"])
    story.issue("2026-08")
    assert story.draft("2026-09").lines == ()


def test_what_one_entry_loses_and_another_wins_is_told_in_one_line():
    story = Story()
    story.record("e-1", "2026-07-06 60")
    story.record("e-2", "2026-07-07 60")
    story.issue("2026-07")
    story.amend("e-1", 1, "2026-07-06 50")
    story.amend("e-2", 1, "2026-07-07 70")
    made = story.draft("2026-08")
    assert shown(made) == ["2026-07 p-1 r-1 adjustment 0 s 0.00"]
    assert sorted(row.seconds for row in made.lines[0].rows) == [-3600, -3600, 3000, 4200]


def test_a_key_of_late_work_has_no_original_when_nothing_of_it_was_issued():
    story = Story(card=(a_rate("r-PH", "9.00", "PH"), a_rate("r-IN", "8.00", "IN")))
    story.placements["p-2"] = a_placement("p-2", "a-2", "IN")
    story.record("e-1", "2026-07-06 60")
    story.issue("2026-07")
    story.record("e-2", "2026-07-06 60", placement_id="p-2")
    (line,) = story.draft("2026-08").lines
    assert (line.kind, line.old, line.original) == ("adjustment", Sums(), None)


def test_a_placements_own_rate_covers_the_countries_that_it_worked_from():
    moved = a_placement(countries=timeline("PH", ("2026-07-16", "MX")))
    card = (a_rate("r-own", "11.00", placement_id="p-1"), a_rate("r-PH", "9.00", "PH"))
    story = Story(placements={"p-1": moved}, card=card)
    story.record("e-1", NIGHT)
    (line,) = story.draft("2026-07").lines
    assert (line.key.rate_id, line.stamp.country) == ("r-own", "MX+PH")


def test_a_placements_own_rate_covers_the_roles_that_it_had():
    changed = a_placement(roles=timeline("paralegal", ("2026-07-16", "legal_assistant")))
    story = Story(placements={"p-1": changed}, card=(a_rate("r-own", "11.00", placement_id="p-1"),))
    story.record("e-1", NIGHT)
    (line,) = story.draft("2026-07").lines
    assert line.stamp.role == "legal_assistant+paralegal"


def test_what_is_added_to_an_issued_key_keeps_the_stamp_of_its_first_line():
    moved = a_placement(countries=timeline("PH", ("2026-07-16", "MX")))
    story = Story(placements={"p-1": moved}, card=(a_rate("r-own", "11.00", placement_id="p-1"),))
    story.record("e-1", "2026-07-06 60")
    first = story.draft("2026-07").lines[0].stamp
    story.issue("2026-07")
    story.record("e-2", "2026-07-20 60")
    (line,) = story.draft("2026-08").lines
    assert (line.kind, line.stamp, first.country) == ("adjustment", first, "PH")


def test_late_work_is_an_adjustment_also_in_a_draft_of_the_month_that_is_settled():
    story = Story()
    story.record("e-1", "2026-07-06 60")
    story.issue("2026-07")
    story.record("e-2", "2026-07-07 60")
    (line,) = story.draft("2026-07").lines
    assert (line.kind, line.old, line.original) == (
        "adjustment",
        Sums(3_600, 3_600, 1_500),
        Origin("INV-2026-0001", 1),
    )


def test_a_line_names_no_country_that_it_does_not_bill():
    moved = a_placement(countries=timeline("PH", ("2026-07-16", "MX")))
    story = Story(placements={"p-1": moved}, terms=(terms("required"),))
    story.card = (a_rate("r-own", "11.00", placement_id="p-1"),)
    story.record("e-1", "2026-07-15 60")
    story.record("e-2", "2026-07-16 60")
    story.approve("e-1")
    (line,) = story.draft("2026-07").lines
    assert line.stamp.country == "PH"


def test_an_explicit_rate_of_zero_is_billed_at_zero():
    story = Story(card=(a_rate("r-0", "0"),))
    story.record("e-1", NIGHT)
    made = story.draft("2026-07")
    assert (made.outcome, shown(made), held(made)) == (
        "document",
        ["2026-07 p-1 r-0 regular 14401 s 0.00"],
        [],
    )


def test_a_currency_without_minor_units_is_billed_in_whole_units():
    story = Story(card=(a_rate("r-1", "1500.5", currency="JPY"),))
    story.firm = replace(story.firm, currency="JPY")
    story.record("e-1", "2026-07-06 60")
    assert shown(story.draft("2026-07")) == ["2026-07 p-1 r-1 regular 3600 s 1501"]
    story.issue("2026-07")
    assert story.draft("2026-08").lines == ()


def test_regular_lines_come_first_then_adjustments_by_month_placement_and_date():
    story = Story(
        card=(
            a_rate("r-z", "9.00", valid_to=date(2026, 8, 10)),
            a_rate("r-a", "9.50", valid_from=date(2026, 8, 10)),
        )
    )
    story.placements["p-0"] = a_placement("p-0", "a-0")
    story.record("e-0", "2026-07-01 60")
    story.issue("2026-07")
    for entry_id, day, placement_id in (
        ("e-1", "2026-08-20", "p-1"),
        ("e-2", "2026-08-01", "p-1"),
        ("e-3", "2026-08-20", "p-0"),
        ("e-4", "2026-07-20", "p-0"),
        ("e-5", "2026-06-20", "p-1"),
    ):
        story.record(entry_id, f"{day} 60", placement_id=placement_id)
    assert [told.rsplit(" ", 3)[0] for told in shown(story.draft("2026-08"))] == [
        "2026-08 p-0 r-a regular",
        "2026-08 p-1 r-z regular",
        "2026-08 p-1 r-a regular",
        "2026-06 p-1 r-z adjustment",
        "2026-07 p-0 r-z adjustment",
    ]


def test_lines_of_a_month_and_placement_stand_by_their_first_dates():
    back = a_placement(countries=timeline("PH", ("2026-07-10", "MX"), ("2026-07-15", "PH")))
    story = Story(
        placements={"p-1": back}, card=(a_rate("r-PH", "9.00", "PH"), a_rate("r-MX", "9.00", "MX"))
    )
    for number, day in enumerate(("2026-07-06", "2026-07-12", "2026-07-20")):
        story.record(f"e-{number}", f"{day} 60")
    assert [line.key.rate_id for line in story.draft("2026-07").lines] == ["r-PH", "r-MX"]
