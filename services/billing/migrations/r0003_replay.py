"""What a run needs to be replayed as of its cut, and to outlive a firm that ends its workers."""

from services.migrations import apply

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the pins of a run, the attempts at a firm, and two indexes."""
    apply(__file__, "0003_replay.sql")
