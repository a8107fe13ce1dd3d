"""Reports: a draft as the run report, REST and the command line show it."""

from typing import Any

from schemas.instants import instant_text
from schemas.money import amount_text, hours_text, minor_digits, rate_text
from services.billing.books import Bucket, Draft, Held, Line, Sums


def report(draft: Draft) -> dict[str, Any]:
    """Return a draft as JSON values: amounts and rates are texts, durations seconds."""
    currency = draft.firm.currency
    return {
        "firm_id": draft.firm.firm_id,
        "period": str(draft.period),
        "run_id": draft.run.run_id,
        "outcome": draft.outcome,
        "total": _money(draft.total_minor, currency),
        "lines": [_line(number, line) for number, line in enumerate(draft.lines, 1)],
        "buckets": [_bucket(bucket) for bucket in draft.buckets],
        "buckets_if_issued": [_bucket(bucket) for bucket in draft.buckets_if_issued],
        "held": [_held(held) for held in draft.held],
        "open_timers": [
            {
                "entry_id": timer.entry_id,
                "placement_id": timer.placement_id,
                "started_at": instant_text(timer.started_at) if timer.started_at else None,
                "runaway": timer.runaway,
            }
            for timer in draft.open_timers
        ],
        "notices": [notice._asdict() for notice in draft.notices],
        "blocked": [blocked._asdict() for blocked in draft.blocked],
        "issued_digest": draft.issued_digest,
    }


def _line(number: int, line: Line) -> dict[str, Any]:
    stamp = line.stamp
    return {
        "line_number": number,
        "kind": line.kind,
        "service_month": str(line.key.service_month),
        "placement_id": line.key.placement_id,
        "assistant_id": stamp.assistant_id,
        "role": stamp.role,
        "country": stamp.country,
        "rate": rate_text(stamp.rate_e4),
        "rate_version": line.key.rate_id,
        **_sums(line.difference, stamp.currency),
        "old": _sums(line.old, stamp.currency),
        "new": _sums(line.new, stamp.currency),
        "original": line.original._asdict() if line.original else None,
        "entry_count": len({row.entry_id for row in line.rows}),
    }


def _sums(sums: Sums, currency: str) -> dict[str, Any]:
    return {
        "seconds": sums.seconds,
        "rounded_seconds": sums.rounded_seconds,
        "hours": hours_text(sums.rounded_seconds),
        "amount": _money(sums.amount_minor, currency),
    }


def _money(minor: int, currency: str) -> dict[str, str]:
    return {"amount": amount_text(minor, minor_digits(currency)), "currency": currency}


def _bucket(bucket: Bucket) -> dict[str, Any]:
    return {
        "service_month": str(bucket.service_month),
        "worked_seconds": bucket.worked,
        "billed_seconds": bucket.billed,
        "held_seconds": dict(bucket.held),
        "non_billable_seconds": bucket.non_billable,
        "written_off_seconds": bucket.written_off,
        "unexplained_seconds": bucket.unexplained,
        "rounding_seconds": bucket.rounding,
    }


def _held(held: Held) -> dict[str, Any]:
    return {
        "reason": held.reason,
        "service_month": str(held.service_month),
        "service_date": held.service_date.isoformat() if held.service_date else None,
        "entry_id": held.entry_id,
        "version": held.version,
        "placement_id": held.placement_id,
        "assistant_id": held.assistant_id,
        "seconds": held.seconds,
    }
