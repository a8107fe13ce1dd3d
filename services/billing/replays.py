"""Replays: a past run decided again as of its cut, compared byte for byte with what it made."""

import json
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from services.billing.books import Draft
from services.billing.invoices import content, document

State = Literal["same", "differs", "pending"]


class Kept(NamedTuple):
    """What a run made of a firm: its report, its draft, and the document if that was issued."""

    report: str
    content: bytes | None
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Replay:
    """One firm of a run decided again. `pending`: the run has not decided it yet.

    differences  the parts of the report that are not the same, `content` when the draft is not,
                 `document` when the issued document is not that draft under its number
    """

    firm_id: str
    state: State
    outcome: str | None = None
    report_sha256: str | None = None
    replayed_report_sha256: str | None = None
    content_sha256: str | None = None
    replayed_content_sha256: str | None = None
    differences: tuple[str, ...] = ()


def pending(firm_id: str) -> Replay:
    """Tell of a firm that the run has not decided yet."""
    return Replay(firm_id, "pending")


def compare(firm_id: str, kept: Kept, made: Draft | None, report: str) -> Replay:
    """Compare what a run kept of a firm with what was decided again, and name what differs.

    A run that kept no draft (a dry run, nothing due, out of order) is compared by its report.
    """
    again = None
    if kept.content is not None and made is not None and made.outcome == "document":
        again = content(made)
    differences = [*_differing_parts(kept.report, report)]
    if again != kept.content:
        differences.append("content")
    if kept.body is not None and not _is_frozen(kept.body, again):
        differences.append("document")
    return Replay(
        firm_id=firm_id,
        state="differs" if differences else "same",
        outcome=json.loads(kept.report)["outcome"],
        report_sha256=_sha256(kept.report.encode()),
        replayed_report_sha256=_sha256(report.encode()),
        content_sha256=_sha256(kept.content),
        replayed_content_sha256=_sha256(again),
        differences=tuple(differences),
    )


def _differing_parts(kept: str, again: str) -> list[str]:
    if kept == again:
        return []
    before, after = json.loads(kept), json.loads(again)
    parts = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return parts or ["bytes"]


def _is_frozen(body: bytes, again: bytes | None) -> bool:
    """Say whether an issued document is a draft's content under the number it got."""
    if again is None:
        return False
    told: dict[str, Any] = json.loads(body)
    frozen = document(
        again,
        number=told["number"],
        invoice_date=date.fromisoformat(told["invoice_date"]),
        series=told["series"],
        predecessor=told["predecessor"],
    )
    return frozen.body == body


def _sha256(raw: bytes | None) -> str | None:
    return None if raw is None else sha256(raw).hexdigest()
