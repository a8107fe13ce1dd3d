"""Billing terms: which version of a firm's terms a service month is billed under."""

from collections.abc import Iterable

from schemas.periods import Month
from services.billing.books import Terms

DEFAULT = Terms(terms_id="default", version=0, effective_month=Month(1, 1))


def terms_for(versions: Iterable[Terms], month: Month) -> Terms:
    """Return the terms in force in a month: the latest effective, of these the greatest version.

    A firm without terms is billed by the default: approval required, no increment.
    """
    in_force = (terms for terms in versions if terms.effective_month <= month)
    return max(in_force, key=lambda t: (t.effective_month, t.version, t.terms_id), default=DEFAULT)


def excludes(terms: Terms, kind: str, phase: str | None) -> bool:
    """Say whether the terms leave work of this kind, or in this phase, unbilled."""
    return kind in terms.excluded_kinds or phase in terms.excluded_phases
