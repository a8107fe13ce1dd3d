"""Money to the cent: amounts of lines, and how amounts, rates and hours are written."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.money import (
    Money,
    amount_text,
    clock_text,
    divide_half_away,
    hours_text,
    line_cents,
    minor_digits,
    parse_amount,
    parse_rate,
    rate_text,
)

SECONDS = st.integers(-10_000_000, 10_000_000)
RATES = st.integers(0, 10_000_000)


@pytest.mark.parametrize(
    ("seconds", "rate", "amount"),
    [
        (180 * 60, "15.25", "45.75"),
        (150 * 60, "15.25", "38.13"),
        (120 * 7 * 60, "12.35", "172.90"),
        (200 * 30 * 60, "12.25", "1225.00"),
        (380 * 60, "18.00", "114.00"),
        (25 * 60, "34.34", "14.31"),
        (30 * 60, "15.25", "7.63"),
        (8 * 3600, "13.125", "105.00"),
        (160 * 3600, "12.00", "1920.00"),
        (158 * 3600, "15.50", "2449.00"),
        (4807 * 60, "16.25", "1301.90"),
        (3 * 1210, "13.20", "13.31"),
        (120 * 60, "15.00", "30.00"),
        (2 * 3600, "12.00", "24.00"),
        (2 * 3600, "13.00", "26.00"),
        (30 * 60, "15.00", "7.50"),
        (0, "15.00", "0.00"),
        (3600, "0.00", "0.00"),
        (-30 * 60, "15.25", "-7.63"),
    ],
)
def test_a_line_is_seconds_times_rate_rounded_once(seconds, rate, amount):
    assert amount_text(line_cents(seconds, parse_rate(rate))) == amount


def test_an_amendment_after_issue_carries_the_difference_of_rounded_wholes():
    """180 → 150 minutes at 15.25 takes 7.62 back; rounding the half hour by itself gives 7.63."""
    rate_e4 = parse_rate("15.25")
    due = line_cents(150 * 60, rate_e4)

    assert due - line_cents(180 * 60, rate_e4) == -762
    assert line_cents(-30 * 60, rate_e4) == -763


def test_the_invoice_of_three_countries_adds_up():
    lines = [(160 * 3600, "12.00"), (158 * 3600, "15.50"), (4807 * 60, "16.25")]

    total = sum(line_cents(seconds, parse_rate(rate)) for seconds, rate in lines)

    assert amount_text(total) == "5670.90"


@pytest.mark.parametrize(
    ("numerator", "denominator", "quotient"),
    [(5, 10, 1), (-5, 10, -1), (4, 10, 0), (-4, 10, 0), (15, 10, 2), (25, 10, 3), (-25, 10, -3)],
)
def test_a_half_is_rounded_away_from_zero(numerator, denominator, quotient):
    assert divide_half_away(numerator, denominator) == quotient


def test_only_a_positive_number_divides():
    with pytest.raises(ValueError, match="positive"):
        divide_half_away(1, 0)


@given(seconds=SECONDS, rate_e4=RATES, digits=st.integers(0, 4))
def test_a_line_is_the_exact_product_rounded_to_the_minor_unit(seconds, rate_e4, digits):
    exact = Fraction(seconds * rate_e4 * 10**digits, 3600 * 10_000)
    nearest = line_cents(seconds, rate_e4, digits)

    assert abs(exact - nearest) <= Fraction(1, 2)
    assert abs(exact - nearest) < Fraction(1, 2) or abs(nearest) > abs(exact)


@given(parts=st.lists(SECONDS, min_size=1), rate_e4=RATES)
def test_lines_that_carry_due_less_issued_sum_to_the_rounded_whole(parts, rate_e4):
    issued = 0
    for due_seconds in accumulate(parts):
        issued += line_cents(due_seconds, rate_e4) - issued

    differences = [
        line_cents(now, rate_e4) - line_cents(before, rate_e4)
        for before, now in zip([0, *accumulate(parts)], accumulate(parts), strict=False)
    ]

    assert sum(differences) == issued == line_cents(sum(parts), rate_e4)


@given(minor=st.integers(-(10**14), 10**14), digits=st.integers(0, 4))
def test_an_amount_reads_back_as_it_was_written(minor, digits):
    assert parse_amount(amount_text(minor, digits), digits) == minor


@given(rate_e4=st.integers(0, 10**10))
def test_a_rate_reads_back_as_it_was_written(rate_e4):
    assert parse_rate(rate_text(rate_e4)) == rate_e4


@pytest.mark.parametrize(
    ("rate_e4", "text"),
    [(152_500, "15.25"), (131_250, "13.125"), (80_000, "8.00"), (1, "0.0001"), (0, "0.00")],
)
def test_a_rate_is_written_with_two_to_four_places(rate_e4, text):
    assert rate_text(rate_e4) == text


@pytest.mark.parametrize(
    "text",
    ["", "1.", ".5", "1,5", "1e3", "+1", " 1", "1 ", "NaN", "1.23456", "-1.00", "\u0661", "1\n"],
)
def test_a_rate_that_is_not_a_decimal_of_four_places_is_refused(text):
    with pytest.raises(ValueError, match=r"written like|decimal places|not negative"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("currency", "minor", "text"),
    [
        ("USD", -762, "-7.62"),
        ("JPY", 1200, "1200"),
        ("KWD", 1, "0.001"),
        ("CLF", -15, "-0.0015"),
        ("USD", -5, "-0.05"),
    ],
)
def test_an_amount_has_the_places_of_its_currency(currency, minor, text):
    money = Money(minor, currency)

    assert (money.amount, str(money)) == (text, f"{text} {currency}")
    assert money.as_json() == {"amount": text, "currency": currency}
    assert Money.parse(text, currency) == money


def test_an_amount_finer_than_its_currency_is_refused():
    for text, currency in (("1.001", "USD"), ("1.5", "JPY")):
        with pytest.raises(ValueError, match="decimal places"):
            Money.parse(text, currency)


def test_money_of_one_currency_adds_up_and_of_two_does_not():
    assert Money(1885, "USD") + Money(15, "USD") - Money(900, "USD") == -Money(-1000, "USD")
    with pytest.raises(ValueError, match="USD and CAD do not add up"):
        Money(1, "USD") + Money(1, "CAD")
    with pytest.raises(ValueError, match="USD and CAD do not add up"):
        Money(1, "USD") - Money(1, "CAD")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (22_500, "6.25"),
        (360, "0.10"),
        (22_800, "6:20:00"),
        (3_630, "1:00:30"),
        (9, "0.0025"),
        (1, "0:00:01"),
        (0, "0.00"),
        (-1_800, "-0.50"),
        (-1, "-0:00:01"),
        (576_000, "160.00"),
    ],
)
def test_hours_are_decimal_where_that_is_exact(seconds, text):
    assert hours_text(seconds) == text


@given(seconds=SECONDS, rate_e4=RATES)
def test_shown_hours_times_shown_rate_is_the_shown_amount(seconds, rate_e4):
    shown = hours_text(seconds)
    if ":" in shown:
        assert shown == clock_text(seconds)
        hours, minutes, rest = (int(part) for part in shown.lstrip("-").split(":"))
        assert hours * 3600 + minutes * 60 + rest == abs(seconds)
        return
    product = Decimal(shown) * Decimal(rate_text(rate_e4))

    cents = product.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)

    assert cents == Decimal(amount_text(line_cents(seconds, rate_e4)))


@pytest.mark.parametrize(
    ("digits", "currencies"),
    [
        (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
        (2, "USD EUR CAD GBP MXN PHP INR COP CRC HUF MGA MRU"),
        (3, "BHD IQD JOD KWD LYD OMR TND"),
        (4, "CLF UYW"),
    ],
)
def test_minor_digits_are_those_of_the_currency(digits, currencies):
    assert {code: minor_digits(code) for code in currencies.split()} == dict.fromkeys(
        currencies.split(), digits
    )
