"""Principals, their tokens, and the trail of who made and revoked them."""

from services.migrations import apply, apply_shared

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables of identity."""
    apply_shared("audit.sql")
    apply(__file__, "0001_tokens.sql")
