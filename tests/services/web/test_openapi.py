"""What each house publishes, read by somebody else's validator of OpenAPI 3.1."""

import json

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from services.billing.api import ROUTES as BILLING
from services.ingest.api import ROUTES as INGEST
from services.metrics.api import ROUTES as METRICS
from services.web.openapi import describe


@pytest.mark.parametrize(
    ("house", "routes"), [("ingest", INGEST), ("metrics", METRICS), ("billing", BILLING)]
)
def test_the_document_of_a_house_is_openapi(house, routes):
    document = json.loads(json.dumps(describe(house, routes)))
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
