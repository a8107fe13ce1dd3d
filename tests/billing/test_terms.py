"""Terms: which version a month is billed under."""

import pytest

from schemas.periods import Month
from services.billing.terms import DEFAULT, excludes, terms_for
from tests.billing.story import terms

OLD = terms(version=1, effective_month=Month(2026, 1))
NEW = terms(version=2, effective_month=Month(2026, 8))
NEW_CORRECTED = terms(version=3, effective_month=Month(2026, 8), terms_id="terms-0")
BACKDATED = terms(version=4, effective_month=Month(2026, 3))


@pytest.mark.parametrize(
    ("month", "expected"),
    [
        ("2025-12", DEFAULT),
        ("2026-01", OLD),
        ("2026-02", OLD),
        ("2026-03", BACKDATED),
        ("2026-07", BACKDATED),
        ("2026-08", NEW_CORRECTED),
        ("2027-01", NEW_CORRECTED),
    ],
)
def test_the_latest_version_in_force_at_the_months_start_counts(month, expected):
    versions = (OLD, NEW, NEW_CORRECTED, BACKDATED)
    for told in (versions, versions[::-1]):
        assert terms_for(told, Month.parse(month)) is expected


def test_a_firm_without_terms_has_to_approve_and_has_no_increment():
    assert (DEFAULT.approval, DEFAULT.increment.minutes) == ("required", 0)


def test_terms_exclude_kinds_and_phases():
    made = terms(excluded_kinds=frozenset({"training"}), excluded_phases=frozenset({"trial"}))
    assert excludes(made, "training", "active")
    assert excludes(made, "work", "trial")
    assert not excludes(made, "work", "active")
    assert not excludes(made, "work", None)
