"""Rates: the most specific row in force on a date, or the reason why there is none."""

from dataclasses import replace
from datetime import date

import pytest

from services.billing.books import Rate
from services.billing.rates import Card, Unpriced, Work
from tests.billing.story import a_rate

DAY = date(2026, 7, 15)
WORK = Work("p-1", "PH", "legal_assistant", "trial")
LADDER = [  # from what counts most to what counts least
    a_rate("placement+phase", "1", "*", "*", placement_id="p-1", phase="trial"),
    a_rate("placement", "2", "MX", "paralegal", placement_id="p-1"),
    a_rate("firm+country+role+phase", "3", "PH", firm_id="firm-1", phase="trial"),
    a_rate("firm+country+role", "4", "PH", firm_id="firm-1"),
    a_rate("firm+country", "5", "PH", "*", firm_id="firm-1"),
    a_rate("firm+role", "6", firm_id="firm-1"),
    a_rate("firm", "7", "*", "*", firm_id="firm-1"),
    a_rate("country+role+phase", "8", "PH", phase="trial"),
    a_rate("country+role", "9", "PH"),
    a_rate("country", "10", "PH", "*"),
    a_rate("role", "11"),
    a_rate("anyone+phase", "12", "*", "*", phase="trial"),
    a_rate("anyone", "13", "*", "*"),
]
STRANGERS = [
    a_rate("other firm", "90", "PH", firm_id="firm-2"),
    a_rate("other placement", "91", placement_id="p-2"),
    a_rate("other country", "92", "IN"),
    a_rate("other role", "93", "PH", "paralegal"),
    a_rate("other phase", "94", "PH", phase="shadow"),
    a_rate("other firm's placement", "95", placement_id="p-1", firm_id="firm-2", phase="trial"),
]


def find(*rates, day=DAY, work=WORK):
    return Card(rates, "firm-1", "USD").find(work, day)


@pytest.mark.parametrize("number", range(len(LADDER)), ids=[rate.rate_id for rate in LADDER])
def test_the_most_specific_rate_wins(number):
    assert find(*STRANGERS, *reversed(LADDER[number:])) is LADDER[number]


def test_work_that_no_row_is_about_is_unrated_and_named():
    assert find(*STRANGERS) == Unpriced("unrated", "p-1 PH legal_assistant trial")


def test_a_rate_is_valid_from_its_first_date_to_before_its_last():
    rate = a_rate("r", "9", valid_from=date(2026, 7, 1), valid_to=date(2026, 8, 1))
    found = [find(rate, day=date(2026, *day)) for day in ((6, 30), (7, 1), (7, 31), (8, 1))]
    assert [isinstance(one, Rate) for one in found] == [False, True, True, False]


def test_a_specific_rate_out_of_force_leaves_the_general_one():
    general, special = a_rate("general", "9"), a_rate("special", "8", placement_id="p-1")
    assert find(general, replace(special, valid_from=date(2026, 8, 1))) is general


def test_an_explicit_zero_is_a_rate():
    zero = a_rate("zero", "0", placement_id="p-1")
    assert find(zero, a_rate("general", "9")) is zero


def test_a_rate_of_another_currency_blocks_and_does_not_fall_back():
    euros = a_rate("euros", "9", placement_id="p-1", currency="EUR")
    assert find(euros, a_rate("general", "9")) == Unpriced("currency_mismatch", "euros EUR")


def test_two_rows_that_claim_the_same_work_price_nothing():
    twins = [a_rate("b", "9", "PH", placement_id="p-1"), a_rate("a", "9", "MX", placement_id="p-1")]
    assert find(*twins) == Unpriced("rate_ambiguous", "a b")
