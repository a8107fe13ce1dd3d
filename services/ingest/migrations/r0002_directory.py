"""Ingest's copy of the directory, as the log gives it."""

from services.migrations import apply, apply_shared

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the shared tables of the log, and the way from a placement to its firm."""
    apply_shared("log.sql")
    apply(__file__, "0002_directory.sql")
