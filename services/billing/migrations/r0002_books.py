"""Billing's own tables: entries as folded, and what people and runs decided."""

from services.migrations import apply

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the entries, the reference data, the decisions, the runs and the invoices."""
    apply(__file__, "0002_books.sql")
