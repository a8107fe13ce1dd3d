"""Forged, revoked and expired tokens open nothing; a secret is compared in constant time."""

import ast
import asyncio
import inspect
import re

from services.machine.children import SERVICES
from services.web import auth
from tests.fuzz.calls import METHODS
from tests.fuzz.forgeries import ALTERED, DOORS, sealed, try_all, web_tokens

FORGERIES = 2_000


def test_no_forgery_is_let_in(world):
    seen = asyncio.run(try_all(world, part=0, count=FORGERIES))
    assert seen.total() == FORGERIES
    sorts = {how for how, status in seen if status == 401}
    assert sorts == {alter.__name__ for alter in ALTERED} | {"scheme", "place", "doubled", "dead"}


def test_the_tokens_that_were_forged_are_good_themselves(world):
    """Else nothing was shown: each is let in where its forgeries were not."""
    for house, method, path, who in DOORS:
        token = world.tokens[who]
        assert sealed(token[:-6]) == token
        status, _ = world.call(house, method, path, raw=b"", who=who)
        assert status not in {400, 401, 403}, (house, status)


def calls_with_a_scope(world, house):
    """List a service's published calls that need a token, about things that are not there."""
    paths = world.done(house, "GET", f"/openapi/{house}.json")["paths"]
    return [
        (house, method.upper(), re.sub(r"{\w+}", "nobody", path))
        for path, methods in paths.items()
        for method, call in methods.items()
        if method in METHODS and call.get("x-scope") is not None
    ]


def test_every_token_that_is_dead_is_refused_by_every_call_that_needs_one(world):
    guarded = [one for house in SERVICES for one in calls_with_a_scope(world, house)]
    assert {house for house, *_ in guarded} == set(SERVICES)
    for name, token in world.dead_tokens.items():
        for house, method, path in guarded:
            more = {"Authorization": f"Bearer {token}"}
            status, _ = world.call(house, method, path, raw=b"", more=more)
            assert status == 401, (name, house, method, path)


def test_no_signed_web_token_is_let_in_however_it_says_to_check_it(world):
    for house, method, path, who in DOORS:
        forged = web_tokens(world.tokens[who])
        assert len(set(forged)) >= 60
        for token in forged:
            more = {"Authorization": f"Bearer {token}"}
            status, answer = world.call(house, method, path, raw=b"", more=more)
            assert (status, answer["code"]) == (401, "unauthorized"), (house, token)


def test_a_secret_is_compared_by_the_one_function_that_takes_the_same_time_for_all():
    """No `==` sees a hash, and an unknown id is compared like a known one."""
    tree = ast.parse(inspect.getsource(auth.authenticate))
    compared = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    assert not any("hash" in ast.unparse(node) for node in compared)
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    [digest] = [call for call in calls if call.startswith("hmac.compare_digest(")]
    assert "_keyed_hash(pepper, credentials)" in digest
    assert "_NO_HASH" in digest
