"""From a file to events: named by what they say, bound to their importer, known again later."""

import json
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from services.ingest import imports
from services.ingest.imports import KnownRow, Planned, admit_rows, decide, plan
from services.ingest.mapping import Rules
from services.ingest.rows import FileRefused, RowRefused
from tests.ingest.exports import CLOCKIFY, RULES, TOGGL, clockify, file_of, toggl

MANILA = ZoneInfo("Asia/Manila")
NOW = datetime(2026, 7, 15, tzinfo=UTC)
ALL = frozenset({"*"})


@dataclass(frozen=True)
class Sender:
    kind: str = "admin"
    scopes: frozenset[str] = frozenset({"import"})
    firms: frozenset[str] = ALL
    placements: frozenset[str] = ALL
    sources: frozenset[str] = ALL


def planned(*rows, form="toggl", zone=MANILA, rules=RULES, key=b"key", firm_id=None):
    raw = file_of(TOGGL if form == "toggl" else CLOCKIFY, *rows)
    return plan(raw, form, zone, Rules.model_validate(tomllib.loads(rules)), key, firm_id)


def test_a_row_becomes_an_entry_whose_time_is_the_rows_own():
    found = planned(toggl(billable="No"))
    assert (found.row_count, found.refused) == (1, [])
    [row] = found.planned
    event = json.loads(row.event.raw)
    assert event == {
        "specversion": "1.0",
        "id": f"toggl:{row.row_id}",
        "source": "import/toggl",
        "type": "turnsheet.time.recorded.v1",
        "time": "2026-07-01T10:00:00+08:00",
        "datacontenttype": "application/json",
        "data": {
            "firm_id": "f-1",
            "placement_id": "p-1",
            "entry_id": f"toggl:{row.row_id}",
            "started_at": "2026-07-01T09:00:00+08:00",
            "ended_at": "2026-07-01T10:00:00+08:00",
            "task_type": "intake",
            "kind": "work",
            "billable": False,
        },
    }
    assert (row.firm_id, row.day, row.line) == ("f-1", date(2026, 7, 1), 2)


def test_no_word_of_the_file_goes_on_the_log():
    for form, row in (("toggl", toggl(tags="secret")), ("clockify", clockify())):
        [found] = planned(row, form=form).planned
        text = found.event.raw.decode() + repr((found.person, found.row_id))
        words = ("Maria", "maria", "example", "Hartwell", "Intake", "clerk", "secret")
        assert [word for word in words if word in text] == []


def test_a_rows_name_needs_the_key_and_is_the_same_for_ever():
    [one], [same], [other] = (planned(toggl(), key=key).planned for key in (b"k", b"k", b"x"))
    assert (one.row_id, one.person) == (same.row_id, same.person)
    assert one.row_id != other.row_id
    assert one.person != other.person
    # Pinned: a change of this rule would import every file a second time.
    assert one.row_id == "98a8a6981a1cd9b3de067db5cd5ddae8"


def test_equal_rows_are_told_apart_by_their_number_and_a_description_says_nothing():
    found = planned(toggl(), toggl(description="another"), toggl(project="Mail"))
    assert len({row.row_id for row in found.planned}) == 3
    swapped = planned(toggl(project="Mail"), toggl(description="new words"), toggl())
    assert {row.row_id for row in swapped.planned} == {row.row_id for row in found.planned}
    assert {row.day_hash for row in swapped.planned} == {row.day_hash for row in found.planned}


@pytest.mark.parametrize(
    "change",
    [
        {"start": "2026-07-01 09:00:01"},
        {"end": "2026-07-01 10:00:01"},
        {"email": "mario@example.com"},
        {"client": "Other"},
        {"project": "Mail"},
        {"billable": "No"},
        {"tags": "x"},
    ],
)
def test_whatever_a_row_says_makes_its_name_and_its_days_hash(change):
    everyone = "[[rule]]\nplacement_id='p'\nfirm_id='f'\ntask_type='intake'\n"
    [one] = planned(toggl(), rules=everyone).planned
    [other] = planned(toggl(**change), rules=everyone).planned
    assert one.row_id != other.row_id
    assert one.day_hash != other.day_hash


REFUSED = [
    (toggl(project="Golf"), MANILA, "unmapped"),
    (toggl(email="else@example.com", user="Else"), MANILA, "unmapped"),
    (toggl(end="2026-07-01 08:59:59"), MANILA, "ends_before_start"),
    (
        toggl("2026-03-08 02:30:00", "2026-03-08 04:00:00"),
        ZoneInfo("America/New_York"),
        "skipped_time",
    ),
    (
        toggl("2025-11-02 00:30:00", "2025-11-02 01:30:00"),
        ZoneInfo("America/New_York"),
        "ambiguous_time",
    ),
    (toggl("1969-07-01 09:00:00", "1969-07-01 10:00:00"), MANILA, "year_range"),
]


@pytest.mark.parametrize(("row", "zone", "code"), REFUSED)
def test_a_row_that_makes_no_event_is_refused_with_its_line(row, zone, code):
    found = planned(toggl(), row, zone=zone)
    assert [one.line for one in found.planned] == [2]
    assert [(one.line, one.code) for one in found.refused] == [(3, code)]


def test_an_unmapped_row_says_what_no_rule_gives():
    [refusal] = planned(toggl(project="Golf", email="x@example.com", user="X")).refused
    assert refusal.detail == "no rule gives firm_id, placement_id, task_type"


def test_seconds_are_those_between_the_instants_across_a_change_of_the_clock():
    zone = ZoneInfo("America/New_York")
    [row] = planned(toggl("2026-03-07 22:00:00", "2026-03-08 06:00:00"), zone=zone).planned
    data = row.event.event.data
    assert (data.ended_at - data.started_at).total_seconds() == 7 * 3600


def test_rows_beyond_the_importers_bounds_are_refused():
    found = planned(toggl(), toggl("2026-07-02 09:00:00", "2026-07-02 10:00:00"))

    def codes(sender, known=None, now=NOW):
        admitted = admit_rows(sender, found, now=now, firm_of_placement=known or {})
        assert len(admitted.planned) + len(admitted.refused) == 2
        return [row.code for row in admitted.refused]

    assert codes(Sender()) == []
    assert codes(Sender(firms=frozenset({"f-2"}))) == ["not_bound"] * 2
    assert codes(Sender(placements=frozenset({"p-2"}))) == ["not_bound"] * 2
    assert codes(Sender(sources=frozenset({"import/clockify"}))) == ["source_not_bound"] * 2
    assert codes(Sender(), {"p-1": "f-2"}) == ["not_bound"] * 2
    assert codes(Sender(), now=datetime(2026, 7, 1, 12, tzinfo=UTC)) == ["time_ahead"]
    assert codes(Sender(), now=datetime(2030, 7, 1, tzinfo=UTC)) == []


def told(rows, days, known):
    decision = decide(rows, days, known)
    return tuple(
        [row.line for row in part]
        for part in (decision.fresh, decision.unsent, decision.known, decision.refused)
    )


def remembered(rows, *, is_sent=True):
    return (
        {(row.person, row.day): frozenset({row.day_hash}) for row in rows},
        {row.row_id: KnownRow(row.firm_id, row.content_hash, is_sent) for row in rows},
    )


DAY_ONE = [toggl(), toggl(project="Mail")]
DAY_TWO = [toggl("2026-07-02 09:00:00", "2026-07-02 10:00:00")]


def test_the_same_file_again_brings_nothing_new():
    rows = planned(*DAY_ONE, *DAY_TWO).planned
    assert told(rows, {}, {}) == ([2, 3, 4], [], [], [])
    assert told(rows, *remembered(rows)) == ([], [], [2, 3, 4], [])


def test_what_was_claimed_but_never_confirmed_is_sent_again():
    rows = planned(*DAY_ONE).planned
    assert told(rows, *remembered(rows, is_sent=False)) == ([], [2, 3], [], [])


def test_a_file_with_other_rows_of_a_day_is_refused_for_that_day_alone():
    before = remembered(planned(*DAY_ONE, *DAY_TWO).planned)
    later = planned(DAY_ONE[0], *DAY_TWO).planned
    assert told(later, *before) == ([], [], [3], [2])
    more = planned(*DAY_ONE, toggl("2026-07-01 11:00:00", "2026-07-01 12:00:00")).planned
    assert told(more, *before) == ([], [], [], [2, 3, 4])
    another = planned(toggl(email="ana@example.com"), rules=RULES.replace("maria", "ana")).planned
    assert told(another, *before) == ([2], [], [], [])


def test_the_refusal_says_which_day():
    before = remembered(planned(*DAY_ONE).planned)
    [refusal] = decide(planned(DAY_ONE[0]).planned, *before).refused
    assert refusal == RowRefused(
        2,
        "day_already_imported",
        "2026-07-01 of this person was imported before from a file with other rows",
    )


def test_a_row_whose_rule_was_missing_comes_in_when_there_is_one():
    few = RULES.replace('project = "Mail"', 'project = "Nothing"')
    first = planned(*DAY_ONE, rules=few)
    assert [row.code for row in first.refused] == ["unmapped"]
    assert told(planned(*DAY_ONE).planned, *remembered(first.planned)) == ([3], [], [2], [])


@pytest.mark.parametrize(
    "change",
    [
        {"rules": RULES.replace("p-1", "p-2")},
        {"rules": RULES.replace("f-1", "f-2")},
        {"rules": RULES.replace('"intake"', '"matter_file"')},
        {"zone": ZoneInfo("Asia/Kolkata")},
    ],
)
def test_a_row_that_would_now_say_something_else_is_refused(change):
    before = remembered(planned(toggl()).planned)
    rows = planned(toggl(), **change).planned
    assert [row.code for row in decide(rows, *before).refused] == ["imported_otherwise"]


def test_both_formats_name_their_rows_apart():
    [one] = planned(toggl()).planned
    [other] = planned(clockify(), form="clockify").planned
    assert isinstance(one, Planned)
    assert one.row_id != other.row_id
    assert json.loads(other.event.raw)["source"] == "import/clockify"


def test_a_file_has_no_more_rows_and_rules_than_an_answer_has_time_for(monkeypatch):
    monkeypatch.setattr(imports, "ROWS_MAX", 2)
    assert planned(toggl(), toggl()).row_count == 2
    with pytest.raises(FileRefused, match="too_many_rows"):
        planned(toggl(), toggl(), toggl())
    # What comes behind the last lawful row is not even read.
    rows = [clockify(), clockify(), clockify(), clockify("31/07/2026 09:00 AM")]
    with pytest.raises(FileRefused, match="too_many_rows"):
        planned(*rows, form="clockify")
    monkeypatch.setattr(imports, "TRIALS_MAX", 1)
    assert planned(toggl(), toggl()).row_count == 2
    with pytest.raises(FileRefused, match="too_many_rules"):
        planned(toggl(), toggl(client="Another"), rules=RULES * 2)
