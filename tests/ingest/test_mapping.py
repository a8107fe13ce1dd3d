"""Rules: the first that fits and gives a thing gives it; what none gives is missing."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from services.ingest.mapping import RULES_MAX, Given, Rules, apply_rules
from tests.cpu import times_longer
from tests.ingest.test_rows import MARIA

STINT = replace(MARIA, task="Calls", tags=("rush", "new"))


def given_by(*rules, stint=STINT, firm_id=None):
    return apply_rules(Rules.model_validate({"rule": rules}), stint, firm_id)


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ({}, True),
        ({"client": "Hartwell"}, True),
        ({"client": "hartwell"}, False),
        ({"client": "Hart"}, False),
        ({"project": "Intake", "task": "Calls"}, True),
        ({"project": "Intake", "task": "Mail"}, False),
        ({"tag": "new"}, True),
        ({"tag": "rush, new"}, False),
        ({"user": "Maria"}, True),
        ({"user": "MARIA@example.com"}, True),
        ({"user": "maria"}, False),
    ],
)
def test_a_rule_fits_when_all_its_conditions_do(condition, fits):
    assert given_by(condition | {"matter_ref": "m"}).matter_ref == ("m" if fits else None)


@pytest.mark.parametrize(
    ("email", "user"),
    [
        ("Maria@Example.COM", "maria@example.com"),
        ("maria@example.com", "MARIA@EXAMPLE.COM"),
        ("gross@example.com", "gro\xdf@example.com"),
        ("gro\xdf@example.com", "GROSS@example.com"),
    ],
)
def test_an_address_fits_however_its_letters_are_written(email, user):
    stint = replace(STINT, email=email)
    assert given_by({"user": user, "matter_ref": "m"}, stint=stint).matter_ref == "m"


LONG_CELLS = [
    (replace(STINT, email="\xe9" * 60_000), {"user": "u"}),
    (replace(STINT, email="\xe9" * 500), {"user": "\u0390" * 500}),
    (replace(STINT, tags=tuple(f"tag {n}" for n in range(30_000))), {"tag": "t"}),
]


@pytest.mark.parametrize(("stint", "condition"), LONG_CELLS)
def test_a_trial_takes_no_longer_for_long_words(stint, condition):
    long, short = (
        Rules.model_validate({"rule": [rule] * RULES_MAX}) for rule in (condition, {"user": "u"})
    )
    assert apply_rules(long, stint) == apply_rules(short, STINT) == Given()
    assert times_longer(lambda: apply_rules(long, stint), lambda: apply_rules(short, STINT)) < 5


def test_each_thing_comes_from_the_first_rule_that_fits_and_gives_it():
    given = given_by(
        {"project": "Mail", "task_type": "inbox_admin"},
        {"tag": "rush", "kind": "rework"},
        {"user": "Maria", "placement_id": "p-1", "firm_id": "f-1", "billable": False},
        {"project": "Intake", "task_type": "intake", "kind": "work"},
        {"task_type": "matter_file", "billable": True, "matter_ref": "m-1"},
    )
    assert given == Given(
        firm_id="f-1",
        placement_id="p-1",
        task_type="intake",
        matter_ref="m-1",
        kind="rework",
        billable=False,
    )
    assert given.missing == ()


def test_what_no_rule_gives_is_missing_and_the_files_firm_stands_in():
    assert given_by().missing == ("firm_id", "placement_id", "task_type")
    assert given_by(firm_id="f-9") == Given(firm_id="f-9")
    assert given_by({"firm_id": "f-1"}, firm_id="f-9").firm_id == "f-1"


@pytest.mark.parametrize(
    "rule",
    [
        {"clientt": "x"},
        {"task_type": "legal_advice"},
        {"placement_id": "p/1"},
        {"client": ""},
        {"billable": "yes"},
        {"rate": 18},
    ],
)
def test_a_rule_with_a_wrong_word_is_refused(rule):
    with pytest.raises(ValidationError):
        Rules.model_validate({"rule": [rule]})
