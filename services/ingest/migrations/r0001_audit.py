"""The trail of ingest; its other tables follow in the house's own revisions."""

from services.migrations import apply_shared

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the trail."""
    apply_shared("audit.sql")
