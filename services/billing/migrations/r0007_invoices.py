"""How an invoice is found among those of all firms."""

from services.migrations import apply

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add indexes by id and by number, and drop one that nobody uses."""
    apply(__file__, "0007_invoices.sql")
