"""Tasks, escalations, entries and their segments."""

from services.migrations import apply

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables that figures are computed from."""
    apply(__file__, "0002_tasks.sql")
