"""What the races borrow: a running billing house."""

from tests.billing.conftest import billing

__all__ = ["billing"]
