"""Explain: a line added up again, to the cent, from the entries frozen inside its document."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date

from schemas.money import amount_text, clock_text, hours_text, line_cents, minor_digits, rate_text
from services.billing.books import (
    Document,
    Explanation,
    IssuedLine,
    Line,
    Mismatch,
    Row,
    Sums,
)
from services.billing.increments import rounded_seconds
from services.billing.invoices import issued_lines, read_document


def explain(
    document: Document, line_number: int, earlier: Sequence[Document] = ()
) -> Explanation | Mismatch:
    """Add a line up again from its entries, or say where it does not add up.

    `earlier`: the firm's issued documents of periods before (others are not looked at); with them
    the old whole of an adjustment is proved too, and each entry's rounding.
    """
    read = read_document(document.body)
    if isinstance(read, Mismatch):
        return read
    lines = issued_lines(read)
    found = next((line for line in lines if line.origin.line_number == line_number), None)
    if found is None:
        return Mismatch("unknown_line", f"{document.number} has lines 1 to {len(lines)}")
    line = found.line
    before = [
        old.line
        for one in earlier
        for old in issued_lines(one)
        if old.line.key == line.key and old.period < found.period
    ]
    old_proved = line.old == Sums() or bool(before)
    wrong = (
        _wrong_total(read, lines)
        or _wrong_seconds(line)
        or _wrong_amounts(read, found)
        or (_wrong_old(line, before) if before else None)
        or (_wrong_rounding(line, before) if old_proved else None)
    )
    return wrong or Explanation(found, tuple(_steps(line)), old_proved)


def _wrong_total(document: Document, lines: Iterable[IssuedLine]) -> Mismatch | None:
    """The document's total is the sum of its shown lines."""
    body = json.loads(document.body)
    total_minor = sum(line.line.difference.amount_minor for line in lines)
    total = amount_text(total_minor, minor_digits(body["currency"]))
    return None if total == body["total"] else Mismatch("total", f"{total} is not {body['total']}")


def _wrong_seconds(line: Line) -> Mismatch | None:
    """The entries are the line's seconds, raw and rounded."""
    seconds = sum(row.seconds for row in line.rows)
    rounded = sum(row.rounded_seconds for row in line.rows)
    if seconds != line.difference.seconds:
        return Mismatch("seconds", f"entries {seconds}, line {line.difference.seconds}")
    if rounded != line.difference.rounded_seconds:
        return Mismatch(
            "rounded_seconds", f"entries {rounded}, line {line.difference.rounded_seconds}"
        )
    return None


def _wrong_amounts(document: Document, issued: IssuedLine) -> Mismatch | None:
    """Old and new are rounded wholes, and what the line shows is their difference."""
    line = issued.line
    if line.old.amount_minor != _priced(line, line.old):
        return Mismatch("old_amount", f"{_priced(line, line.old)} minor units")
    if line.new.amount_minor != _priced(line, line.new):
        return Mismatch("new_amount", f"{_priced(line, line.new)} minor units")
    shown = json.loads(document.body)["lines"][issued.origin.line_number - 1]
    digits = minor_digits(line.stamp.currency)
    if shown["amount"] != amount_text(line.difference.amount_minor, digits):
        return Mismatch("amount", f"shown {shown['amount']}")
    if shown["hours"] != hours_text(line.difference.rounded_seconds):
        return Mismatch("hours", f"shown {shown['hours']}")
    return None


def _wrong_old(line: Line, before: Sequence[Line]) -> Mismatch | None:
    """What the key's earlier lines carry is what this line calls old."""
    carried = Sums(*(sum(part) for part in zip(*(old.difference for old in before), strict=True)))
    return None if carried == line.old else Mismatch("old_lines", f"{carried} is not {line.old}")


def _wrong_rounding(line: Line, before: Sequence[Line]) -> Mismatch | None:
    """Each entry's seconds under the key, over all its lines, are rounded once, as a whole."""
    seconds: dict[str, int] = defaultdict(int)
    rounded: dict[str, int] = defaultdict(int)
    for row in _all_rows([*before, line]):
        seconds[row.entry_id] += row.seconds
        rounded[row.entry_id] += row.rounded_seconds
    for entry_id, whole in seconds.items():
        if rounded[entry_id] != rounded_seconds(whole, line.stamp.increment):
            return Mismatch("rounding", f"{entry_id}: {whole} s to {rounded[entry_id]} s")
    return None


def _all_rows(lines: Iterable[Line]) -> Iterable[Row]:
    return (row for line in lines for row in line.rows)


def _priced(line: Line, sums: Sums) -> int:
    digits = minor_digits(line.stamp.currency)
    return line_cents(sums.rounded_seconds, line.stamp.rate_e4, digits)


def _steps(line: Line) -> Iterable[str]:
    """The arithmetic in words, one step a sentence."""
    by_date: dict[date, int] = defaultdict(int)
    for row in line.rows:
        by_date[row.service_date] += row.seconds
    for day, seconds in sorted(by_date.items()):
        yield f"{day}: {clock_text(seconds)}"
    change = line.difference
    worked, rounded = clock_text(change.seconds), clock_text(change.rounded_seconds)
    yield f"entries: {worked}, rounded {rounded}"
    if line.kind == "adjustment":
        yield f"old: {_product(line, line.old)}"
        yield f"new: {_product(line, line.new)}"
        yield f"new less old: {_amount(line, change.amount_minor)}"
    else:
        yield _product(line, line.new)


def _product(line: Line, sums: Sums) -> str:
    rate = rate_text(line.stamp.rate_e4)
    return (
        f"{hours_text(sums.rounded_seconds)} hours at {rate} {line.stamp.currency}"
        f" = {_amount(line, sums.amount_minor)}"
    )


def _amount(line: Line, minor: int) -> str:
    return f"{amount_text(minor, minor_digits(line.stamp.currency))} {line.stamp.currency}"
