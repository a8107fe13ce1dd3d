"""Money in exact integers: minor units of a currency, and rates in ten-thousandths an hour."""

import re
from dataclasses import dataclass
from typing import Self

RATE_SCALE = 10_000
RATE_DIGITS = 4
SECONDS_PER_HOUR = 3_600

_DECIMAL = re.compile(r"(-?)([0-9]{1,15})(?:\.([0-9]{1,9}))?", re.ASCII)
_ZERO_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DIGITS = "CLF UYW"
_MINOR_DIGITS = {
    currency: digits
    for digits, currencies in ((0, _ZERO_DIGITS), (3, _THREE_DIGITS), (4, _FOUR_DIGITS))
    for currency in currencies.split()
}


def minor_digits(currency: str) -> int:
    """Return how many decimal places a currency's amounts have (ISO 4217)."""
    return _MINOR_DIGITS.get(currency, 2)


def divide_half_away(numerator: int, denominator: int) -> int:
    """Divide and round to the nearest integer, a half away from zero. The denominator is > 0."""
    if denominator <= 0:
        raise ValueError("the denominator must be positive")
    rounded = (2 * abs(numerator) + denominator) // (2 * denominator)
    return rounded if numerator >= 0 else -rounded


def line_cents(seconds: int, rate_e4: int, minor_digits: int = 2) -> int:
    """Return seconds times rate as minor units, rounded once, half away from zero.

    `rate_e4` is in ten-thousandths of the currency an hour: 15.25 is 152500.
    """
    return divide_half_away(seconds * rate_e4 * 10**minor_digits, SECONDS_PER_HOUR * RATE_SCALE)


def rate_text(rate_e4: int) -> str:
    """Write a rate as a decimal of two to four places: 152500 is `15.25`, 131250 `13.125`."""
    whole = amount_text(rate_e4, RATE_DIGITS)
    return whole[:-2] + whole[-2:].rstrip("0")


def parse_rate(text: str) -> int:
    """Read a rate that is not negative. Raises ValueError beyond four decimal places."""
    rate_e4 = parse_amount(text, RATE_DIGITS)
    if rate_e4 < 0:
        raise ValueError("a rate is not negative")
    return rate_e4


def amount_text(minor: int, minor_digits: int = 2) -> str:
    """Write minor units as a decimal with all its places: 1885 is `18.85`."""
    sign = "-" if minor < 0 else ""
    whole, fraction = divmod(abs(minor), 10**minor_digits)
    return f"{sign}{whole}.{fraction:0{minor_digits}}" if minor_digits else f"{sign}{whole}"


def parse_amount(text: str, minor_digits: int = 2) -> int:
    """Read a decimal as minor units. Raises ValueError when it has more places than that."""
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise ValueError("an amount is written like 18.85")
    sign, whole, fraction = found[1], found[2], found[3] or ""
    if len(fraction) > minor_digits:
        raise ValueError(f"at most {minor_digits} decimal places")
    minor = int(whole + fraction.ljust(minor_digits, "0"))
    return -minor if sign else minor


def hours_text(seconds: int) -> str:
    """Write a duration so that it can be multiplied by hand to the same amount.

    Decimal hours of two to four places where these are exact, else h:mm:ss: 22500 is `6.25`,
    22800 `6:20:00`.
    """
    quotient, rest = divmod(seconds * RATE_SCALE, SECONDS_PER_HOUR)
    return clock_text(seconds) if rest else rate_text(quotient)


def clock_text(seconds: int) -> str:
    """Write a duration as h:mm:ss, with its sign."""
    minutes, second = divmod(abs(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{'-' if seconds < 0 else ''}{hour}:{minute:02}:{second:02}"


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of one currency, in its minor units."""

    minor: int
    currency: str

    @classmethod
    def parse(cls, amount: str, currency: str) -> Self:
        """Read a decimal text. Raises ValueError when it is finer than the currency."""
        return cls(parse_amount(amount, minor_digits(currency)), currency)

    @property
    def amount(self) -> str:
        """The decimal text, with all places of the currency."""
        return amount_text(self.minor, minor_digits(self.currency))

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"

    def __add__(self, other: "Money") -> "Money":
        return Money(self.minor + self._same(other).minor, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.minor - self._same(other).minor, self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.minor, self.currency)

    def as_json(self) -> dict[str, str]:
        """Return the form that REST and documents show."""
        return {"amount": self.amount, "currency": self.currency}

    def _same(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not add up")
        return other
