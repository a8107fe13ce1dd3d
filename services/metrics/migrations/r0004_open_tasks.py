"""Until when each task was open."""

from services.migrations import apply

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Keep until when a task was open, in place of when it was closed."""
    apply(__file__, "0004_open_tasks.sql")
