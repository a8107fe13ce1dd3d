"""What the races borrow: a running billing house, and its database as the owner."""

from tests.billing.conftest import billing, owner

__all__ = ["billing", "owner"]
