"""What every house that reads the log has: positions, facts, entities, the directory, the trail."""

from services.migrations import apply_shared

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the shared tables of the log."""
    apply_shared("log.sql")
    apply_shared("audit.sql")
