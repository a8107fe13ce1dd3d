"""What a timesheet needs to be read by dates, a page at a time."""

from services.migrations import apply

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Fill in missing outlines, and add an index by service date."""
    apply(__file__, "0006_timesheets.sql")
