"""Tokens: what one looks like, who is behind it, and that nothing close to one is taken."""

import json
import string
import zlib
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from services.postgres import connect, open_pool
from services.settings import SettingsRefused
from services.web import auth
from services.web.auth import (
    DEFAULT_SCOPES,
    KINDS,
    SCOPES,
    NewToken,
    Principal,
    authenticate,
    create_token,
    list_tokens,
    read_tokens,
    require_firm,
    revoke_token,
    revoke_tokens,
)
from services.web.problems import Problem

PEPPER = SecretStr("a pepper")
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=90)
TRACKER = NewToken(
    "tracker:asst-1",
    "tracker",
    LATER,
    placements=["pl-1", "pl-2"],
    sources=["https://tracker.test/asst-1"],
    label="laptop",
)


class Admin:
    id = "admin:root"


ADMIN = Admin()


@pytest_asyncio.fixture
async def keeper(settings):
    """A connection that keeps tokens."""
    conn = await connect(settings, "identity", "writer")
    yield conn
    await conn.close()


@pytest_asyncio.fixture
async def door(settings):
    """A look at tokens as each service has it."""
    async with await open_pool(settings, "ingest", "firm") as pool:
        yield read_tokens(pool)


async def refusal(door, header, now=NOW, pepper=PEPPER):
    with pytest.raises(Problem) as caught:
        await authenticate(door, pepper, header, now)
    return caught.value.status, caught.value.document(), caught.value.headers


async def test_no_token_is_made_without_a_pepper(keeper):
    with pytest.raises(SettingsRefused, match="TURNSHEET_TOKEN_PEPPER is not set"):
        await create_token(keeper, SecretStr(""), TRACKER, actor=ADMIN, now=NOW)
    assert await list_tokens(keeper) == []


async def test_a_token_opens_the_door_to_its_principal(keeper, door):
    text = await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW)
    assert await authenticate(door, PEPPER, f"Bearer {text}", NOW) == Principal(
        id="tracker:asst-1",
        kind="tracker",
        token_id=text.split("_")[2],
        scopes=frozenset({"events:write"}),
        firms=frozenset(),
        placements=frozenset({"pl-1", "pl-2"}),
        sources=frozenset({"https://tracker.test/asst-1"}),
    )


async def test_a_token_has_the_form_that_scanners_look_for(keeper):
    for kind in KINDS:
        new = NewToken(f"{kind}:x", kind, LATER)
        text = await create_token(keeper, PEPPER, new, actor=ADMIN, now=NOW)
        prefix, found, token_id, secret = text.split("_")
        assert (prefix, found, len(token_id), len(secret)) == ("tns", kind, 16, 43 + 6)
        digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
        checked = 0
        for digit in secret[-6:]:
            checked = checked * 62 + digits.index(digit)
        assert checked == zlib.crc32(text[:-6].encode())


async def test_no_two_tokens_are_alike(keeper):
    made = {await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW) for _ in range(20)}
    assert len(made) == 20


async def test_the_secret_is_kept_nowhere(keeper, settings):
    text = await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW)
    secret = text.split("_")[3]
    kept = [
        str(dict(row))
        for table in ("token", "principal", "audit")
        for row in await keeper.fetch(f"select * from {table}")  # noqa: S608 (names of ours)
    ]
    assert len(kept) == 3
    assert [row for row in kept if secret in row or secret[:-6] in row] == []


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer tns_tracker_0123456789abcdef",
        "Bearer " + "x" * 9000,
        "Bearer tns_root_0123456789abcdef_" + "0" * 49,
        "Bearer tns_tracker_\uff10123456789abcdef_" + "0" * 49,
        "Bearer tns_tracker_0123456789abcde\x00_" + "0" * 49,
        "\udcff",
    ],
)
async def test_what_is_no_token_is_refused_without_asking_the_database(settings, header):
    nowhere = settings.model_copy(update={"database_url": "postgresql://o:p@127.0.0.1:9/none"})
    async with await open_pool(nowhere, "ingest", "firm") as pool:
        status, document, headers = await refusal(pool, header)
    assert (status, document["code"]) == (401, "unauthorized")
    assert headers == {"WWW-Authenticate": 'Bearer realm="turnsheet"'}


async def test_every_flaw_gets_the_same_answer(keeper, door):
    text = await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW)
    revoked = await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW)
    await revoke_token(keeper, revoked.split("_")[2], actor=ADMIN, now=NOW)
    unknown = auth._new_text("tracker")
    body = text[:-7] + ("0" if text[-7] != "0" else "1")
    wrong_secret = body + auth._crc(body)
    found = [
        await refusal(door, None),
        await refusal(door, f"Bearer {unknown}"),
        await refusal(door, f"Bearer {wrong_secret}"),
        await refusal(door, f"Bearer {revoked}"),
        await refusal(door, f"Bearer {text}", now=LATER),
        await refusal(door, f"Bearer {text}", pepper=SecretStr("another pepper")),
    ]
    assert all(one == found[0] for one in found)


async def test_a_token_ends_at_the_moment_it_names(keeper, door):
    text = await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW)
    just_before = LATER - timedelta(microseconds=1)
    assert await authenticate(door, PEPPER, f"Bearer {text}", just_before)
    assert (await refusal(door, f"Bearer {text}", now=LATER))[0] == 401


async def test_a_revocation_counts_from_the_next_request_and_only_once(keeper, door):
    text = await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW)
    token_id = text.split("_")[2]
    assert await authenticate(door, PEPPER, f"Bearer {text}", NOW)
    assert await revoke_token(keeper, token_id, actor=ADMIN, now=NOW)
    assert (await refusal(door, f"Bearer {text}"))[0] == 401
    assert not await revoke_token(keeper, token_id, actor=ADMIN, now=NOW)


async def test_all_tokens_of_a_principal_end_at_once_each_in_the_trail(keeper, door):
    texts = [await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW) for _ in range(3)]
    other = NewToken("tracker:asst-2", "tracker", LATER)
    kept = await create_token(keeper, PEPPER, other, actor=ADMIN, now=NOW)
    ids = [text.split("_")[2] for text in texts]
    await revoke_token(keeper, ids[0], actor=ADMIN, now=NOW)
    ended = await revoke_tokens(keeper, "tracker:asst-1", actor=ADMIN, now=NOW)
    assert ended == sorted(ids[1:])
    assert [(await refusal(door, f"Bearer {text}"))[0] for text in texts] == [401] * 3
    assert (await authenticate(door, PEPPER, f"Bearer {kept}", NOW)).id == "tracker:asst-2"
    rows = await keeper.fetch(
        "select subject from audit where action = 'revoke_token' order by audit_id"
    )
    assert [row["subject"] for row in rows] == [ids[0], *ended]
    assert await revoke_tokens(keeper, "tracker:asst-1", actor=ADMIN, now=NOW) == []


async def test_a_disabled_principal_has_no_live_token(keeper, door):
    texts = [await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW) for _ in range(2)]
    await keeper.execute("update principal set disabled_at = $1", NOW)
    assert [(await refusal(door, f"Bearer {text}"))[0] for text in texts] == [401, 401]


async def test_two_tokens_of_one_principal_live_side_by_side(keeper, door):
    first = await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW)
    second = await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW)
    await revoke_token(keeper, first.split("_")[2], actor=ADMIN, now=NOW)
    assert (await authenticate(door, PEPPER, f"Bearer {second}", NOW)).id == "tracker:asst-1"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_read_in_any_case(keeper, door, scheme):
    text = await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW)
    assert await authenticate(door, PEPPER, f"{scheme} {text}", NOW)


async def test_no_mutated_token_is_ever_accepted(keeper, door):
    """Every change of one character, swaps, cuts, repeats, other cases; checksums mended."""
    text = await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW)
    alphabet = string.digits + string.ascii_letters + "_- .\uff10"
    mutants = {text.swapcase(), text.upper(), text.lower(), text + text, " " + text, text + "\n"}
    for place in range(len(text)):
        mutants |= {text[:place] + c + text[place + 1 :] for c in alphabet}
        mutants |= {text[:place], text[place:], text[:place] + text[place + 1 :]}
        mutants.add(text[:place] + text[place] + text[place:])
    mutants -= {text}
    for mutant in mutants:
        assert (await refusal(door, f"Bearer {mutant}"))[0] == 401


async def test_no_token_with_a_mended_checksum_is_accepted(keeper, door):
    """An attacker can compute the checksum: then the keyed hash alone decides."""
    text = await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW)
    other = await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW)
    _, kind, token_id, secret = text.split("_")
    _, _, other_id, other_secret = other.split("_")
    bodies = [
        f"tns_{kind}_{other_id}_{secret[:-6]}",
        f"tns_{kind}_{token_id}_{other_secret[:-6]}",
        *(f"tns_{one}_{token_id}_{secret[:-6]}" for one in KINDS if one != kind),
        *(
            f"tns_{kind}_{token_id}_{secret[:place]}{c}{secret[place + 1 : -6]}"
            for place in range(43)
            for c in "0aZ"
            if secret[place] != c
        ),
    ]
    for body in bodies:
        assert (await refusal(door, f"Bearer {body}{auth._crc(body)}"))[0] == 401


@given(noise=st.text(max_size=120) | st.from_regex(auth._TOKEN, fullmatch=True))
@hypothesis_settings(max_examples=500, suppress_health_check=list(HealthCheck))
def test_noise_is_no_token(noise):
    """The checksum of six base62 characters lets one in 4 thousand million through, and no more."""
    assert auth._read_token(noise.encode("utf-8", "surrogatepass")) is None


async def test_making_and_ending_a_token_stand_in_the_trail(keeper):
    new = NewToken("firm:north-api", "firm", LATER, firms=["north"])
    text = await create_token(keeper, PEPPER, new, actor=ADMIN, now=NOW)
    token_id = text.split("_")[2]
    await revoke_token(keeper, token_id, actor=ADMIN, now=NOW)
    rows = await keeper.fetch(
        "select firm_id, actor, action, subject, details from audit order by audit_id"
    )
    assert [(*list(row)[:4], json.loads(row["details"])) for row in rows] == [
        (
            "north",
            "admin:root",
            "create_token",
            token_id,
            {"principal": "firm:north-api", "scopes": sorted(DEFAULT_SCOPES["firm"])},
        ),
        ("*", "admin:root", "revoke_token", token_id, {}),
    ]


async def test_a_list_shows_everything_but_secrets(keeper):
    text = await create_token(keeper, PEPPER, TRACKER, actor=ADMIN, now=NOW)
    assert await list_tokens(keeper) == [
        auth.Token(
            token_id=text.split("_")[2],
            principal_id="tracker:asst-1",
            kind="tracker",
            scopes=("events:write",),
            firms=(),
            placements=("pl-1", "pl-2"),
            sources=("https://tracker.test/asst-1",),
            label="laptop",
            created_at=NOW,
            expires_at=LATER,
            revoked_at=None,
        )
    ]


@pytest.mark.parametrize(
    ("new", "code"),
    [
        (TRACKER._replace(scopes=["events:write", "root"]), "unknown_scope"),
        (TRACKER._replace(principal_id="admin:asst-1"), "principal_id"),
        (TRACKER._replace(principal_id="tracker:"), "principal_id"),
        (TRACKER._replace(principal_id="tracker:a b"), "principal_id"),
        (TRACKER._replace(expires_at=NOW), "expires_at"),
    ],
)
async def test_what_no_token_can_be_is_refused_and_leaves_nothing(keeper, new, code):
    with pytest.raises(Problem) as caught:
        await create_token(keeper, PEPPER, new, actor=ADMIN, now=NOW)
    assert (caught.value.status, caught.value.code) == (422, code)
    assert await keeper.fetchval("select count(*) from principal") == 0


def test_every_kind_has_scopes_and_every_scope_belongs_to_some_kind():
    assert set(DEFAULT_SCOPES) == set(KINDS)
    assert {scope for scopes in DEFAULT_SCOPES.values() for scope in scopes} == set(SCOPES)


def test_a_foreign_firm_is_told_like_one_that_does_not_exist():
    principal = Principal(
        "firm:a", "firm", "t", frozenset(), frozenset({"north"}), frozenset(), frozenset()
    )
    require_firm(principal, "north")
    answers = []
    for firm in ("south", "no-such-firm"):
        with pytest.raises(Problem) as caught:
            require_firm(principal, firm)
        answers.append((caught.value.document(), caught.value.headers))
    assert answers[0] == answers[1]
    assert answers[0][0]["status"] == 404
