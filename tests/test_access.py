"""Every call of every house, asked by everyone who may not: the table of routes decides."""

import re
from collections.abc import Sequence
from contextlib import asynccontextmanager

import pytest
from aiohttp.test_utils import TestClient, TestServer

from services.billing.api import ROUTES as BILLING
from services.ingest.api import ROUTES as INGEST
from services.metrics.api import ROUTES as METRICS
from services.postgres import House, connect
from services.web.auth import DEFAULT_SCOPES, KINDS
from services.web.http import make_app
from services.web.routes import Route
from tests.tokens import make_token

TABLES: dict[House, Sequence[Route]] = {"ingest": INGEST, "metrics": METRICS, "billing": BILLING}
ALL_SCOPES = sorted({scope for all_ in DEFAULT_SCOPES.values() for scope in all_})

# What anyone may call. A new name here is a decision.
OPEN = {("GET", "/v1/metric-definitions")}


# Calls whose address names no firm, and that whoever is bound to a firm may make all the same: they
# look at the bindings themselves. A new name here is a decision too.
OF_OWN_FIRMS = {
    ("POST", "/v1/events"),
    ("POST", "/v1/imports"),
    ("GET", "/v1/invoices"),
    ("GET", "/v1/invoices/{invoice}"),
    ("GET", "/v1/invoices/{invoice}.csv"),
    ("GET", "/v1/invoices/{invoice}.json"),
    ("GET", "/v1/invoices/{invoice}/lines/{line}/explain"),
}


@asynccontextmanager
async def asking(settings, house):
    app = make_app(house, TABLES[house], settings)
    async with TestClient(TestServer(app)) as client:

        async def ask(route, token=None):
            path = re.sub(r"\{[^}]*\}", "x", route.path.replace("{firm}", "south"))
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            response = await client.request(route.method, path, headers=headers)
            return response.status, await response.read()

        yield ask


async def tokens(settings, **more):
    """Make a token of each kind with its usual scopes, bound to a firm that is not asked about."""
    return {kind: await make_token(settings, kind, firms=["north"], **more) for kind in KINDS}


@pytest.mark.parametrize("house", TABLES)
async def test_without_a_token_only_what_is_open_is_there(settings, house):
    async with asking(settings, house) as ask:
        for route in TABLES[house]:
            if (route.method, route.path) not in OPEN:
                assert (await ask(route))[0] == 401, route.path
            else:
                assert route.scope is None


@pytest.mark.parametrize("house", TABLES)
async def test_each_kind_is_refused_what_its_scopes_do_not_name(settings, house):
    made = await tokens(settings)
    async with asking(settings, house) as ask:
        for route in TABLES[house]:
            for kind, token in made.items():
                if route.scope is not None and route.scope not in DEFAULT_SCOPES[kind]:
                    assert (await ask(route, token))[0] == 403, (kind, route.path)


@pytest.mark.parametrize("house", TABLES)
async def test_a_foreign_firm_is_not_there_for_anyone_bound_to_another(settings, house):
    made = await tokens(settings)
    answers = set()
    async with asking(settings, house) as ask:
        for route in TABLES[house]:
            for kind, token in made.items():
                if "{firm}" in route.path and route.scope in DEFAULT_SCOPES[kind]:
                    answers.add(await ask(route, token))
    assert {status for status, _ in answers} <= {404}
    assert len(answers) <= 1


@pytest.mark.parametrize("house", TABLES)
async def test_what_is_the_offices_is_refused_to_whoever_is_bound_to_a_firm(settings, house):
    """Rates, runs and decisions about invoices are of all firms: one firm's finance has no say."""
    made = await tokens(settings, scopes=ALL_SCOPES)
    async with asking(settings, house) as ask:
        for route in TABLES[house]:
            if route.office:
                status, body = await ask(route, made["finance"])
                assert (status, b'"office_only"' in body) == (403, True), route.path


def test_a_call_that_names_no_firm_is_the_offices_or_named_here():
    found = {
        (route.method, route.path)
        for table in TABLES.values()
        for route in table
        if route.scope is not None and "firm" not in route.names and not route.office
    }
    assert found == OF_OWN_FIRMS


@pytest.mark.parametrize("house", TABLES)
async def test_a_revoked_token_opens_nothing(settings, house):
    made = await tokens(settings, scopes=ALL_SCOPES)
    conn = await connect(settings, "identity", "writer")
    await conn.execute("update token set revoked_at = now()")
    await conn.close()
    async with asking(settings, house) as ask:
        for route in TABLES[house]:
            if route.scope is not None:
                assert (await ask(route, made["admin"]))[0] == 401


def test_what_is_open_is_named_here():
    found = {(r.method, r.path) for table in TABLES.values() for r in table if r.scope is None}
    assert found == OPEN


def test_no_two_houses_answer_under_one_address():
    """One reverse proxy can put the three behind one origin."""
    owners: dict[str, set[str]] = {}
    for house, table in TABLES.items():
        for route in table:
            owners.setdefault(re.sub(r"\{[^}]*\}", "*", route.path), set()).add(house)
    assert {path: found for path, found in owners.items() if len(found) > 1} == {}
