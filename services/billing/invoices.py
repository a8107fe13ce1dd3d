"""Invoices: a draft frozen as canonical JSON, hashed, numbered, chained, and read back again."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from hashlib import sha256
from typing import Any, NamedTuple, NoReturn

from schemas.canonical import plain_canonical_json
from schemas.money import (
    amount_text,
    hours_text,
    minor_digits,
    parse_amount,
    parse_rate,
    rate_text,
)
from schemas.periods import Month
from services.billing.books import (
    Document,
    Draft,
    Increment,
    IssuedLine,
    Line,
    LineKey,
    Mismatch,
    Origin,
    Row,
    Stamp,
    Sums,
)

FORM = "turnsheet.invoice.v1"
UNHASHED = ("number", "predecessor", "content_sha256")  # what the content's hash does not cover
CSV_COLUMNS = (
    "invoice_number",
    "invoice_date",
    "firm_id",
    "period",
    "line_number",
    "kind",
    "service_month",
    "placement_id",
    "assistant_id",
    "role",
    "country",
    "seconds",
    "rounded_seconds",
    "hours",
    "rate",
    "amount",
    "currency",
    "old_amount",
    "new_amount",
    "original_number",
    "original_line_number",
    "rate_version",
    "terms_id",
    "terms_version",
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


class Break(NamedTuple):
    """A place where a series of documents is not what was issued."""

    number: str
    code: str


def content(draft: Draft) -> bytes:
    """Return what an approver approves and issue freezes: a document but for date and number.

    Canonical JSON without clock, run or log positions. Raises ValueError for a draft without one.
    """
    if draft.outcome != "document":
        raise ValueError(f"nothing to issue: {draft.outcome}")
    firm = draft.firm
    last_date = draft.period.end_date - timedelta(days=1)
    return plain_canonical_json(
        {
            "form": FORM,
            "kind": "invoice",
            "firm": {
                "firm_id": firm.firm_id,
                "country": firm.countries.on(last_date),
                "timezone": firm.timezone,
            },
            "period": str(draft.period),
            "currency": firm.currency,
            "lines": [_line_json(number, line) for number, line in enumerate(draft.lines, 1)],
            "total": amount_text(draft.total_minor, minor_digits(firm.currency)),
        }
    )


def document(
    content: bytes, *, number: str, invoice_date: date, series: str, predecessor: str | None
) -> Document:
    """Issue a content under its number. `predecessor`: sha256 of the series' last document."""
    body: dict[str, Any] = json.loads(content)
    body["invoice_date"] = invoice_date.isoformat()
    body["series"] = series
    body["content_sha256"] = sha256(plain_canonical_json(body)).hexdigest()
    body["number"] = number
    body["predecessor"] = predecessor
    return _document(body, plain_canonical_json(body))


def read_document(body: bytes) -> Document | Mismatch:
    """Read an issued document; a Mismatch when a byte of its content was changed."""
    try:
        found = json.loads(body, parse_float=_refuse, parse_constant=_refuse)
    except ValueError:
        return Mismatch("not_canonical", "not JSON")
    if not isinstance(found, dict) or plain_canonical_json(found) != body:
        return Mismatch("not_canonical", "not in canonical form")
    told = {name: value for name, value in found.items() if name not in UNHASHED}
    if sha256(plain_canonical_json(told)).hexdigest() != found.get("content_sha256"):
        return Mismatch("content_hash", str(found.get("number")))
    return _document(found, body)


def issued_lines(document: Document) -> tuple[IssuedLine, ...]:
    """Return the lines of a document, as the next month's books take them."""
    body = json.loads(document.body)
    period = Month.parse(body["period"])
    return tuple(
        IssuedLine(
            period,
            Origin(document.number, line["line_number"]),
            _line_of(line, body["currency"]),
        )
        for line in body["lines"]
    )


def verify_chain(documents: Sequence[Document]) -> tuple[Break, ...]:
    """Check a series in its order: each content unchanged, each naming the one before it."""
    breaks = []
    before: str | None = None
    for found in documents:
        read = read_document(found.body)
        if isinstance(read, Mismatch):
            breaks.append(Break(found.number, read.code))
        elif read != found:
            breaks.append(Break(found.number, "stored_hash"))
        if found.predecessor != before:
            breaks.append(Break(found.number, "predecessor"))
        before = sha256(found.body).hexdigest()
    return tuple(breaks)


def invoice_csv(document: Document) -> bytes:
    """Write a document's lines as CSV (RFC 4180, UTF-8), one row a line.

    A text that a spreadsheet would take for a formula is led by an apostrophe; figures are not.
    """
    body = json.loads(document.body)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    for line in body["lines"]:
        writer.writerow(_csv_row(body, line))
    return out.getvalue().encode()


def _document(body: dict[str, Any], raw: bytes) -> Document:
    return Document(
        number=body["number"],
        series=body["series"],
        predecessor=body["predecessor"],
        content_sha256=body["content_sha256"],
        sha256=sha256(raw).hexdigest(),
        body=raw,
    )


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"no document says {text}")


def _line_json(number: int, line: Line) -> dict[str, Any]:
    stamp, change = line.stamp, line.difference
    told: dict[str, Any] = {
        "line_number": number,
        "kind": line.kind,
        "service_month": str(line.key.service_month),
        "placement_id": line.key.placement_id,
        "assistant_id": stamp.assistant_id,
        "role": stamp.role,
        "country": stamp.country,
        "rate": rate_text(stamp.rate_e4),
        "rate_version": line.key.rate_id,
        "terms_id": stamp.terms_id,
        "terms_version": stamp.terms_version,
        "increment": {
            "minutes": stamp.increment.minutes,
            "direction": stamp.increment.direction,
            "per": "entry",
        },
        **_sums_json(change, stamp.currency),
        "entries": [
            {
                "entry_id": row.entry_id,
                "version": row.version,
                "service_date": row.service_date.isoformat(),
                "seconds": row.seconds,
                "rounded_seconds": row.rounded_seconds,
            }
            for row in line.rows
        ],
    }
    if line.kind == "adjustment":
        told["old"] = _sums_json(line.old, stamp.currency)
        told["new"] = _sums_json(line.new, stamp.currency)
        told["original"] = line.original._asdict() if line.original else None
    return told


def _sums_json(sums: Sums, currency: str) -> dict[str, Any]:
    return {
        "seconds": sums.seconds,
        "rounded_seconds": sums.rounded_seconds,
        "hours": hours_text(sums.rounded_seconds),
        "amount": amount_text(sums.amount_minor, minor_digits(currency)),
    }


def _line_of(line: dict[str, Any], currency: str) -> Line:
    whole = _sums_of(line, currency)
    original = line.get("original")
    return Line(
        kind=line["kind"],
        key=LineKey(Month.parse(line["service_month"]), line["placement_id"], line["rate_version"]),
        stamp=Stamp(
            assistant_id=line["assistant_id"],
            role=line["role"],
            country=line["country"],
            currency=currency,
            rate_e4=parse_rate(line["rate"]),
            terms_id=line["terms_id"],
            terms_version=line["terms_version"],
            increment=Increment(line["increment"]["minutes"], line["increment"]["direction"]),
        ),
        old=_sums_of(line["old"], currency) if "old" in line else Sums(),
        new=_sums_of(line["new"], currency) if "new" in line else whole,
        rows=tuple(_rows_of(line["entries"])),
        original=Origin(**original) if original else None,
    )


def _sums_of(told: dict[str, Any], currency: str) -> Sums:
    amount_minor = parse_amount(told["amount"], minor_digits(currency))
    return Sums(told["seconds"], told["rounded_seconds"], amount_minor)


def _rows_of(entries: Iterable[dict[str, Any]]) -> Iterable[Row]:
    for entry in entries:
        yield Row(
            entry["entry_id"],
            entry["version"],
            date.fromisoformat(entry["service_date"]),
            entry["seconds"],
            entry["rounded_seconds"],
        )


def _csv_row(body: dict[str, Any], line: dict[str, Any]) -> list[str | int]:
    original = line.get("original") or {}
    return [
        _text(body["number"]),
        body["invoice_date"],
        _text(body["firm"]["firm_id"]),
        body["period"],
        line["line_number"],
        line["kind"],
        line["service_month"],
        _text(line["placement_id"]),
        _text(line["assistant_id"]),
        _text(line["role"]),
        _text(line["country"]),
        line["seconds"],
        line["rounded_seconds"],
        line["hours"],
        line["rate"],
        line["amount"],
        body["currency"],
        line["old"]["amount"] if "old" in line else "",
        line["new"]["amount"] if "new" in line else "",
        _text(original.get("number", "")),
        original.get("line_number", ""),
        _text(line["rate_version"]),
        _text(line["terms_id"]),
        line["terms_version"],
    ]


def _text(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell
