"""What came from files: whose days, and which rows."""

from services.migrations import apply

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the memory of imports."""
    apply(__file__, "0003_imports.sql")
