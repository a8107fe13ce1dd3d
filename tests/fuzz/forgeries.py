"""Tokens that are almost right: made from real ones, sent to all three services, none let in."""

import asyncio
import base64
import hmac
import json
import string
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from services.web.auth import KINDS
from tests import wire
from tests.fuzz.world import World
from tests.wire import Line

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
LINES_AT_ONCE = 8
# A read that the token in hand would be given, in each service.
DOORS = (
    ("ingest", "POST", "/v1/events", "connection"),
    ("metrics", "GET", "/v1/firms/firm-1/scorecards/2026-W20", "firm"),
    ("billing", "GET", "/v1/rate-cards", "finance"),
)
Headers = list[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Forgery:
    """What is sent instead of a good Authorization, and how it was made."""

    how: str
    headers: Headers


def checksum(text: str) -> str:
    """The six base62 digits that end a token, written once more by hand."""
    number, digits = zlib.crc32(text.encode("latin-1")), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits


def sealed(body: str) -> str:
    return body + checksum(body)


def _flipped(rng: Random, good: str, _: Sequence[str]) -> bytes:
    raw = bytearray(good.encode())
    for _time in range(rng.choice([1, 1, 2, 9])):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(raw).replace(b"\r", b"?").replace(b"\n", b"?")


def _other_digit(rng: Random, good: str, _: Sequence[str]) -> str:
    """One digit of the secret is another, and the checksum is right."""
    body = good[:-6]
    at = rng.randrange(len(body) - 43, len(body))
    digit = rng.choice(BASE62.replace(body[at], ""))
    return sealed(body[:at] + digit + body[at + 1 :])


def _other_secret(rng: Random, good: str, others: Sequence[str]) -> str:
    other = rng.choice([one for one in others if one != good])
    return sealed(good[:-49] + other[-49:-6])


def _other_kind(rng: Random, good: str, _: Sequence[str]) -> str:
    _, kind, token_id, rest = good.split("_")
    other = rng.choice([one for one in KINDS if one != kind])
    return sealed(f"tns_{other}_{token_id}_{rest[:-6]}")


def _other_id(rng: Random, good: str, others: Sequence[str]) -> str:
    _, kind, _, rest = good.split("_")
    known = [one.split("_")[2] for one in others if one != good]
    token_id = rng.choice([rng.choice(known), "".join(rng.choices(BASE62, k=16)), "0" * 16])
    return sealed(f"tns_{kind}_{token_id}_{rest[:-6]}")


def _cut(rng: Random, good: str, _: Sequence[str]) -> str:
    return good[: rng.randrange(len(good))] if rng.random() < 0.5 else good[rng.randrange(1, 99) :]


def _longer(rng: Random, good: str, _: Sequence[str]) -> str:
    more = rng.choice(["0", "=", ".", "_", ",", "/", "%00", "x" * 5_000, good, "\x0b1"])
    return rng.choice([good + more, more + good, sealed(good), sealed(good[:-6] + more)])


def _other_case(rng: Random, good: str, _: Sequence[str]) -> str:
    at = rng.choice([i for i, char in enumerate(good) if char.isalpha()])
    one = good[:at] + good[at].swapcase() + good[at + 1 :]
    return rng.choice([good.upper(), good.lower(), good.swapcase(), one, sealed(one[:-6])])


def _spaced(rng: Random, good: str, _: Sequence[str]) -> bytes:
    blank = rng.choice([b" ", b"\t", b"\xa0", b"\xe2\x80\x8b", b"%20", b"+", b"\x0c", b"\x85"])
    at = rng.randrange(len(good))
    return good[:at].encode() + blank + good[at:].encode()


def _unicode(rng: Random, good: str, _: Sequence[str]) -> bytes:
    at = rng.randrange(len(good))
    wide = chr(ord(good[at]) + 0xFEE0)
    strange = rng.choice([wide, "\u0430", "\u0301" + good[at], good[at] + "\u200d", "\ufeff"])
    return (good[:at] + strange + good[at + 1 :]).encode(rng.choice(["utf-8", "utf-16-le"]))


def web_tokens(good: str) -> list[str]:
    """Signed web tokens (JWT), which we do not take at all, that claim to be a good token's."""
    claims = {"sub": good.split("_")[2], "jti": good, "scope": "*", "firms": ["*"], "exp": 2**33}
    made = []
    for alg in ("none", "None", "", "HS256", "HS512", "RS256", "ES256"):
        for key in (b"", b"secret", good.encode()):
            for more in WEB_HEADERS:
                header = {"typ": "JWT", "alg": alg, **more}
                said = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
                mark = hmac.digest(key, said.encode(), "sha256") if key else b""
                made.append(f"{said}.{_base64(mark)}")
    return made


WEB_HEADERS: tuple[dict[str, Any], ...] = (
    {},
    {"kid": "../../../dev/null"},
    {"kid": "' union select 'secret' --"},
    {"jku": "http://127.0.0.1/keys"},
    {"jwk": {"kty": "oct", "k": "c2VjcmV0"}},
    {"crit": ["exp"], "b64": False},
)


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _web_token(rng: Random, good: str, _: Sequence[str]) -> str:
    return rng.choice(web_tokens(good))


ALTERED: tuple[Callable[[Random, str, Sequence[str]], str | bytes], ...] = (
    _flipped, _other_digit, _other_secret, _other_kind, _other_id, _cut, _longer, _other_case,
    _spaced, _unicode, _web_token,
)  # fmt: skip
SCHEMES = (
    b"Basic ", b"Token ", b"", b"Bearer", b"Bearer:", b"Bearer  ", b"Bearer\t", b"OAuth ",
    b"Bearer=", b"Bear er ", b"Digest username=", b"\xffBearer ", b"Bearer Bearer ",
)  # fmt: skip
PLACES = (
    "X-Authorization", "Proxy-Authorization", "Cookie", "Authentication", "X-Api-Key",
    "Authorization2", "X-Forwarded-Authorization",
)  # fmt: skip


def forge(rng: Random, good: str, others: Sequence[str], dead: Sequence[str]) -> Forgery:
    """Make a token, or a way to show one, that is not to be taken."""
    choice = rng.random()
    if choice < 0.75:
        alter = rng.choice(ALTERED)
        made = alter(rng, good, others)
        raw = made if isinstance(made, bytes) else made.encode("latin-1")
        if raw.strip(b" \t") == good.encode():
            raw = b"x" + raw
        return Forgery(alter.__name__, [("Authorization", b"Bearer " + raw)])
    if choice < 0.83:
        return Forgery("scheme", [("Authorization", rng.choice(SCHEMES) + good.encode())])
    if choice < 0.88:
        return Forgery("place", [(rng.choice(PLACES), f"Bearer {good}")])
    if choice < 0.94:
        bearer: str | bytes = f"Bearer {good}"
        other = rng.choice([bearer, f"Bearer {rng.choice(others)}", "", "Basic eA=="])
        both: Headers = [("Authorization", bearer), ("authorization", other)]
        rng.shuffle(both)
        joined: Headers = [("Authorization", f"Bearer {good}, Bearer {good}")]
        return Forgery("doubled", rng.choice([both, joined]))
    return Forgery("dead", [("Authorization", f"Bearer {rng.choice(dead)}")])


async def try_all(world: World, part: int, count: int) -> Counter[tuple[str, int]]:
    """Send a part's forgeries; each is refused. Return how often each sort was, by status."""
    seen: Counter[tuple[str, int]] = Counter()
    numbers = iter(range(count))
    everyone, dead = list(world.tokens.values()), list(world.dead_tokens.values())

    async def work(house: str, method: str, path: str, who: str) -> None:
        good = world.tokens[who]
        port = getattr(world.settings, f"{house}_port")
        async with Line(world.settings.host, port) as line:
            for number in numbers:
                forgery = forge(Random(f"{part}-{number}"), good, everyone, dead)
                raw = wire.request(method, path, [*forgery.headers, ("Content-Length", "0")])
                answer = await line.ask(raw)
                told = f"{forgery} at {house}, forgery {number} of part {part}: {answer}; {REPLAY}"
                assert answer is not None, told
                # 400: what no header may hold never becomes a request.
                assert answer.status in {400, 401}, told
                assert answer.json["code"] in {"malformed_request", "unauthorized"}, told
                assert b"tns_" not in answer.body, told
                seen[forgery.how, answer.status] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(LINES_AT_ONCE):
            group.create_task(work(*DOORS[number % len(DOORS)]))
    return seen


REPLAY = "replay: .venv/bin/pytest 'tests/fuzz/long_tokens.py::test_no_forgery_is_let_in[<part>]'"
