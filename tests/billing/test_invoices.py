"""Invoices: frozen, hashed, chained and read back; their CSV is safe to open."""

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from hashlib import sha256

import pytest
import rfc8785

from services.billing.books import Document, Mismatch
from services.billing.invoices import (
    content,
    document,
    invoice_csv,
    issued_lines,
    read_document,
    verify_chain,
)
from tests.billing.story import Story, a_firm, a_placement, a_rate, terms, timeline


def three_months():
    """July with two placements, August with an adjustment, September."""
    story = Story(card=(a_rate("r-1", "15.25"),), terms=(terms(minutes=6),))
    story.placements["p-2"] = a_placement("p-2", "a-2")
    story.record("e-1", "2026-07-06T09:00-04:00/2026-07-06T12:00-04:00")
    story.record("e-2", "2026-07-06 25", placement_id="p-2")
    story.issue("2026-07")
    story.amend("e-1", 1, "2026-07-06T09:00-04:00/2026-07-06T11:30-04:00")
    story.record("e-3", "2026-08-06 60")
    story.issue("2026-08")
    story.record("e-4", "2026-09-06 60")
    story.issue("2026-09")
    return story


def test_a_document_tells_all_that_it_is_made_of():
    story = three_months()
    july, august, _ = (json.loads(one.body) for one in story.documents)
    first, second = july.pop("lines")
    assert first == {
        "line_number": 1,
        "kind": "regular",
        "service_month": "2026-07",
        "placement_id": "p-1",
        "assistant_id": "a-1",
        "role": "legal_assistant",
        "country": "PH",
        "rate": "15.25",
        "rate_version": "r-1",
        "terms_id": "terms-1",
        "terms_version": 1,
        "increment": {"minutes": 6, "direction": "up", "per": "entry"},
        "seconds": 10800,
        "rounded_seconds": 10800,
        "hours": "3.00",
        "amount": "45.75",
        "entries": [
            {
                "entry_id": "e-1",
                "version": first["entries"][0]["version"],
                "service_date": "2026-07-06",
                "seconds": 10800,
                "rounded_seconds": 10800,
            }
        ],
    }
    assert (second["seconds"], second["rounded_seconds"], second["hours"]) == (1500, 1800, "0.50")
    assert {name: july[name] for name in july if name != "content_sha256"} == {
        "form": "turnsheet.invoice.v1",
        "kind": "invoice",
        "number": "INV-2026-0001",
        "series": "INV-2026",
        "predecessor": None,
        "invoice_date": "2026-08-01",
        "firm": {"firm_id": "firm-1", "country": "US", "timezone": "America/New_York"},
        "period": "2026-07",
        "currency": "USD",
        "total": "53.38",
    }
    adjustment = august["lines"][1]
    assert {name: adjustment[name] for name in ("hours", "amount", "old", "new", "original")} == {
        "hours": "-0.50",
        "amount": "-7.62",
        "old": {"seconds": 10800, "rounded_seconds": 10800, "hours": "3.00", "amount": "45.75"},
        "new": {"seconds": 9000, "rounded_seconds": 9000, "hours": "2.50", "amount": "38.13"},
        "original": {"number": "INV-2026-0001", "line_number": 1},
    }


def test_a_document_is_canonical_json_and_its_hash_is_of_its_bytes():
    issued = three_months().documents[1]
    assert rfc8785.dumps(json.loads(issued.body)) == issued.body
    assert issued.sha256 == sha256(issued.body).hexdigest()
    assert read_document(issued.body) == issued


def test_the_same_books_give_the_same_bytes_whatever_the_run_and_its_clock():
    story, again = three_months(), three_months()
    assert [one.body for one in story.documents] == [one.body for one in again.documents]
    books = story.draft("2026-10")
    assert books.outcome == "nothing_due"
    story.record("e-5", "2026-10-01 60")
    before = content(story.draft("2026-10"))
    story.instant = datetime(2027, 3, 1, tzinfo=UTC)
    assert content(story.draft("2026-10")) == before


def test_the_content_hash_covers_neither_number_nor_predecessor():
    story = Story()
    story.record("e-1", "2026-07-06 60")
    told = content(story.draft("2026-07"))

    def issued(number, day, predecessor):
        return document(
            told, number=number, invoice_date=day, series="INV-2026", predecessor=predecessor
        )

    one, two = issued("1", date(2026, 8, 1), None), issued("2", date(2026, 8, 1), "ab" * 32)
    assert one.content_sha256 == two.content_sha256
    assert one.sha256 != two.sha256
    assert issued("1", date(2026, 8, 2), None).content_sha256 != one.content_sha256


@pytest.mark.parametrize(("moves_on", "country"), [("2026-07-31", "CA"), ("2026-08-01", "US")])
def test_the_firms_country_is_that_of_the_periods_last_date(moves_on, country):
    story = Story()
    story.firm = replace(story.firm, countries=timeline("US", (moves_on, "CA")))
    story.record("e-1", "2026-07-06 60")
    assert json.loads(content(story.draft("2026-07")))["firm"]["country"] == country


@pytest.mark.parametrize(
    ("currency", "amounts"),
    [("JPY", ["1501", "-376"]), ("KWD", ["1500.500", "-375.125"]), ("USD", ["1500.50", "-375.12"])],
)
def test_amounts_have_the_places_of_the_firms_currency_and_read_back_as_they_were(
    currency, amounts
):
    card = (
        a_rate("r-1", "1500.5", currency=currency),
        a_rate("r-2", "9000", "MX", currency=currency),
    )
    story = Story(firm=a_firm(currency=currency), card=card)
    story.placements["p-2"] = a_placement("p-2", "a-2", "MX")
    story.record("e-1", "2026-07-06 60")
    issued = [story.issue("2026-07")]
    story.amend("e-1", 1, "2026-07-06 45")
    story.record("e-2", "2026-08-06 60", placement_id="p-2")
    drafted = story.draft("2026-08").lines
    issued.append(story.issue("2026-08"))
    july, august = (json.loads(one.body) for one in issued)
    assert [july["lines"][0]["amount"], august["lines"][1]["amount"]] == amounts
    assert july["total"] == amounts[0]
    assert tuple(one.line for one in issued_lines(issued[1])) == drafted


def test_late_work_under_a_key_of_its_own_is_told_as_an_adjustment_of_nothing():
    story = Story()
    story.settle("2026-07")
    story.record("e-1", "2026-07-06 60")
    (line,) = json.loads(story.issue("2026-08").body)["lines"]
    nothing = {"seconds": 0, "rounded_seconds": 0, "hours": "0.00", "amount": "0.00"}
    whole = {"seconds": 3600, "rounded_seconds": 3600, "hours": "1.00", "amount": "15.00"}
    assert (line["kind"], line["old"], line["new"], line["original"]) == (
        "adjustment",
        nothing,
        whole,
        None,
    )


def test_there_is_no_content_when_nothing_is_due():
    with pytest.raises(ValueError, match="nothing_due"):
        content(Story().draft("2026-07"))


def test_lines_read_back_are_the_lines_that_were_drafted():
    story = Story(card=(a_rate("r-1", "15.25"),), terms=(terms(minutes=15),))
    story.record("e-1", "2026-07-06 61")
    drafted = story.draft("2026-07")
    issued = story.issue("2026-07")
    assert tuple(one.line for one in issued_lines(issued)) == drafted.lines
    story.amend("e-1", 1, "2026-07-06 190")
    drafted = story.draft("2026-08")
    issued = story.issue("2026-08")
    assert tuple(one.line for one in issued_lines(issued)) == drafted.lines
    assert [str(one.period) for one in issued_lines(issued)] == ["2026-08"]
    assert [tuple(one.origin) for one in issued_lines(issued)] == [("INV-2026-0002", 1)]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda body: body.replace(b'"53.38"', b'"53.39"'), "content_hash"),
        (lambda body: body.replace(b'"seconds":1500', b'"seconds":1501'), "content_hash"),
        (lambda body: body + b"\n", "not_canonical"),
        (lambda body: body.replace(b"{", b'{"total":"0.00",', 1), "not_canonical"),
        (lambda body: body[:-1], "not_canonical"),
        (lambda _body: b"[]", "not_canonical"),
        (lambda body: body.replace(b'"seconds":1500', b'"seconds":1500.5'), "not_canonical"),
        (lambda body: body.replace(b'"seconds":1500', b'"seconds":NaN'), "not_canonical"),
    ],
)
def test_a_changed_byte_is_found(spoil, code):
    found = read_document(spoil(three_months().documents[0].body))
    assert isinstance(found, Mismatch)
    assert found.code == code


def renumbered(issued):
    body = issued.body.replace(issued.number.encode(), b"INV-2026-9999")
    return replace(issued, number="INV-2026-9999", body=body, sha256=sha256(body).hexdigest())


@pytest.mark.parametrize(
    ("spoil", "breaks"),
    [
        (lambda docs: docs, []),
        (lambda docs: docs[1:], [("INV-2026-0002", "predecessor")]),
        (lambda docs: [docs[0], docs[2]], [("INV-2026-0003", "predecessor")]),
        (
            lambda docs: [docs[1], docs[0], docs[2]],
            [
                ("INV-2026-0002", "predecessor"),
                ("INV-2026-0001", "predecessor"),
                ("INV-2026-0003", "predecessor"),
            ],
        ),
        (lambda docs: [renumbered(docs[0]), *docs[1:]], [("INV-2026-0002", "predecessor")]),
        (
            lambda docs: [replace(docs[0], sha256="0" * 64), *docs[1:]],
            [("INV-2026-0001", "stored_hash")],
        ),
        (
            lambda docs: [
                docs[0],
                replace(docs[1], body=docs[1].body.replace(b"-7.62", b"-7.63")),
                docs[2],
            ],
            [("INV-2026-0002", "content_hash"), ("INV-2026-0003", "predecessor")],
        ),
    ],
    ids=["whole", "no first", "a gap", "reordered", "renumbered", "other hash", "edited"],
)
def test_the_chain_shows_every_change(spoil, breaks):
    documents: list[Document] = three_months().documents
    assert [tuple(one) for one in verify_chain(spoil(documents))] == breaks


def test_the_csv_has_a_row_a_line_and_figures_that_stay_figures():
    issued = three_months().documents[1]
    text = invoice_csv(issued).decode()
    assert text.endswith("\r\n")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(row["kind"], row["hours"], row["amount"]) for row in rows] == [
        ("regular", "1.00", "15.25"),
        ("adjustment", "-0.50", "-7.62"),
    ]
    assert rows[1]["original_number"] == "INV-2026-0001"
    assert (rows[1]["old_amount"], rows[1]["new_amount"]) == ("45.75", "38.13")
    assert (rows[0]["original_number"], rows[0]["old_amount"]) == ("", "")


def test_the_csv_tells_of_a_line_what_the_document_does():
    story = Story(card=(a_rate("r-1", "15.25"),), terms=(terms(minutes=6),))
    story.record("e-1", "2026-07-06 120")
    story.issue("2026-07")
    story.amend("e-1", 1, "2026-07-06 61")
    story.record("e-2", "2026-08-06 90")
    text = invoice_csv(story.issue("2026-08")).decode()
    assert [*csv.DictReader(io.StringIO(text, newline=""))][1] == {
        "invoice_number": "INV-2026-0002",
        "invoice_date": "2026-09-01",
        "firm_id": "firm-1",
        "period": "2026-08",
        "line_number": "2",
        "kind": "adjustment",
        "service_month": "2026-07",
        "placement_id": "p-1",
        "assistant_id": "a-1",
        "role": "legal_assistant",
        "country": "PH",
        "seconds": "-3540",
        "rounded_seconds": "-3240",
        "hours": "-0.90",
        "rate": "15.25",
        "amount": "-13.72",
        "currency": "USD",
        "old_amount": "30.50",
        "new_amount": "16.78",
        "original_number": "INV-2026-0001",
        "original_line_number": "1",
        "rate_version": "r-1",
        "terms_id": "terms-1",
        "terms_version": "1",
    }


@pytest.mark.parametrize("name", ["placement_id", "assistant_id", "terms_id", "firm_id"])
def test_no_name_in_the_csv_is_run_by_a_spreadsheet(name):
    issued = three_months().documents[0]
    body = json.loads(issued.body)
    (body["firm"] if name == "firm_id" else body["lines"][0])[name] = "-2"
    spoken = replace(issued, body=json.dumps(body).encode())
    rows = csv.DictReader(io.StringIO(invoice_csv(spoken).decode(), newline=""))
    assert next(rows)[name] == "'-2"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_text_that_a_spreadsheet_would_run_is_led_by_an_apostrophe(start):
    story = Story(card=(a_rate(f"{start}cmd", "15.00"),))
    story.record("e-1", "2026-07-06 60")
    text = invoice_csv(story.issue("2026-07")).decode()
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["rate_version"] == f"'{start}cmd"
    assert row["placement_id"] == "p-1"
