"""What tests of the web room share."""

import pytest

from services.settings import Settings


@pytest.fixture
def plain():
    """Settings of a service whose database is never asked."""
    return Settings(
        database_url="postgresql://o:p@127.0.0.1:9/none",
        database_role_password="-",
        token_pepper="-",
    )
