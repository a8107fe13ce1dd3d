"""What a run needs to tell plain entries from those that have to be judged."""

from services.migrations import apply

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the outline of each entry, and an index."""
    apply(__file__, "0005_outlines.sql")
