"""How a log is told from one that lost its end and was written on."""

from services.migrations import apply_shared

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Keep a digest of the last applied record of each partition."""
    apply_shared("log_digest.sql")
