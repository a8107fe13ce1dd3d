"""Metrics' own tables: tasks, escalations and the hours worked, as folded out of their facts."""

from services.migrations import apply

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the read model of figures."""
    apply(__file__, "0002_work.sql")
