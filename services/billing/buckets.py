"""Buckets: where every worked second of a service month went, with nothing left unexplained."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from typing import NamedTuple

from schemas.periods import Month
from services.billing.books import Bucket, Held, Line, Reason, UnbalancedError
from services.billing.due import Dated, Decision
from services.billing.holds import Part
from services.billing.ledger import Ledger
from services.billing.plain import Group


class _Share(NamedTuple):
    """Seconds of one entry in one month that are not billed; no reason: not billable."""

    service_month: Month
    reason: Reason | None
    seconds: int
    part: Part | None


def held(decisions: Iterable[Decision], period: Month) -> tuple[Held, ...]:
    """List what is held as the books stand, by month, entry and date.

    What only awaits its issue is not: it stands in the lines. An entry whose fold failed is listed
    also without seconds: nobody knows how many it has. What is billed of it stays so.
    """
    found = []
    for decision in decisions:
        found += [
            _held(decision, share, share.reason)
            for share in _shares(decision, decision.billed, issued=False)
            if share.reason not in {None, "awaiting_issue"}
            and share.seconds
            and share.service_month <= period
        ]
        if decision.book.failed and not decision.parts:
            found.append(_held(decision, _Share(period, "failed", 0, None), "failed"))
    return tuple(
        sorted(
            found,
            key=lambda h: (h.service_month, h.entry_id, h.service_date or date.min, h.reason),
        )
    )


class _Sums:
    """Where the seconds of each service month went."""

    def __init__(self) -> None:
        self.worked: dict[Month, int] = defaultdict(int)
        self.billed: dict[Month, int] = defaultdict(int)
        self.non_billable: dict[Month, int] = defaultdict(int)
        self.held: dict[Month, dict[Reason, int]] = defaultdict(lambda: defaultdict(int))

    def add(self, decision: Decision, *, issued: bool) -> None:
        """Add a judged entry, as it is billed before or after this run's issue."""
        for part in decision.parts:
            self.worked[part.service_month] += part.segment.seconds
        after = decision.due if issued else decision.billed
        for (key, _day), seconds in after.items():
            self.billed[key.service_month] += seconds
        for share in _shares(decision, after, issued=issued):
            if share.reason is None:
                self.non_billable[share.service_month] += share.seconds
            else:
                self.held[share.service_month][share.reason] += share.seconds

    def add_plain(self, group: Group, *, issued: bool) -> None:
        """Add plain entries, likewise."""
        month, seconds = Month.of(group.service_date), group.seconds
        self.worked[month] += seconds
        if group.billed is not None or (group.price is not None and issued):
            self.billed[month] += seconds
        elif group.price is not None:
            self.held[month]["awaiting_issue"] += seconds
        else:
            self.non_billable[month] += seconds


def buckets(
    decisions: Iterable[Decision],
    plain: Iterable[Group],
    period: Month,
    ledger: Ledger,
    lines: Iterable[Line] | None,
) -> tuple[Bucket, ...]:
    """Add up each service month to the period, as the books stand or, with `lines`, once issued.

    The period itself is always there. Raises UnbalancedError when not all is explained.
    """
    sums, issued = _Sums(), lines is not None
    for decision in decisions:
        sums.add(decision, issued=issued)
    for group in plain:
        sums.add_plain(group, issued=issued)
    rounding = _rounding(ledger, lines or ())
    found = [
        Bucket(
            service_month=month,
            worked=sums.worked[month],
            billed=sums.billed[month],
            held={r: s for r, s in sorted(sums.held[month].items()) if s},
            non_billable=sums.non_billable[month],
            written_off=0,
            rounding=rounding[month],
        )
        for month in sorted({*sums.worked, *sums.billed, *sums.held, period})
        if month <= period
    ]
    for bucket in found:
        if bucket.unexplained:
            raise UnbalancedError(f"{bucket.service_month}: {bucket.unexplained} s unexplained")
    return tuple(found)


def _shares(decision: Decision, billed: Dated, *, issued: bool) -> Iterator[_Share]:
    """What of an entry is not billed. `billed`: what is, before or after this run's issue."""
    if _stands_for_current(decision, issued=issued):
        yield from _beside(decision, billed)
        return
    difference: dict[Month, int] = defaultdict(int)
    for part in decision.parts:
        if part.billable:
            difference[part.service_month] += part.segment.seconds
        else:
            yield _Share(part.service_month, None, part.segment.seconds, part)
    for (key, _day), seconds in billed.items():
        difference[key.service_month] -= seconds
    for month, seconds in difference.items():
        yield _Share(month, "pending_change", seconds, None)


def _stands_for_current(decision: Decision, *, issued: bool) -> bool:
    """Say whether what is billed is of the current version, as far as that may be billed."""
    if decision.stand in {"new", "same"}:
        return True
    if decision.stand == "kept":
        return False
    return issued or decision.due == decision.billed


def _beside(decision: Decision, billed: Dated) -> Iterator[_Share]:
    """What the billed seconds of each date leave over."""
    for part, covered in _covered(decision, billed):
        reason = part.reason or ("awaiting_issue" if part.billable else None)
        yield _Share(part.service_month, reason, part.segment.seconds - covered, part)


def _covered(decision: Decision, billed: Dated) -> Iterator[tuple[Part, int]]:
    """Share each date's billed seconds among its parts: eligible ones first, then held ones.

    So a part that may not be billed any more, but is, is covered by what stands billed.
    """
    cover: dict[date, int] = defaultdict(int)
    for (_key, day), seconds in billed.items():
        cover[day] += seconds
    for part in sorted(decision.parts, key=lambda p: (not p.eligible, not p.billable)):
        day = part.segment.service_date
        covered = min(cover[day], part.segment.seconds)
        cover[day] -= covered
        yield part, covered


def billed_though(decision: Decision) -> list[str]:
    """Say why what is billed of an entry, or its newer version, might not be billed today."""
    if decision.stand == "kept":
        found = {part.reason for part in decision.parts if part.reason}
        return sorted(found - {"unapproved", "unrated"})
    if decision.stand != "same":
        return []
    return sorted(
        {
            part.reason or "non_billable"
            for part, covered in _covered(decision, decision.billed)
            if covered and not part.eligible
        }
    )


def _held(decision: Decision, share: _Share, reason: Reason) -> Held:
    segment = share.part.segment if share.part else None
    entry = decision.book.entry
    return Held(
        reason=reason,
        service_month=share.service_month,
        service_date=segment.service_date if segment else None,
        entry_id=decision.book.entry_id,
        version=decision.version,
        placement_id=entry.placement_id if entry else None,
        assistant_id=segment.assistant_id if segment else None,
        seconds=share.seconds,
    )


def _rounding(ledger: Ledger, lines: Iterable[Line]) -> dict[Month, int]:
    rounding: dict[Month, int] = defaultdict(int)
    for key, story in ledger.stories.items():
        rounding[key.service_month] += story.sums.rounded_seconds - story.sums.seconds
    for line in lines:
        change = line.difference
        rounding[line.key.service_month] += change.rounded_seconds - change.seconds
    return rounding
