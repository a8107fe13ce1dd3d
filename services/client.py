"""A small REST client for commands: what goes wrong becomes one sentence that says what to do."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.parse import urlencode
from uuid import uuid4

from services.machine.operator_tokens import operator_token
from services.postgres import House
from services.settings import Settings

SECONDS = 30.0
FAULTS_SHOWN: Final = 3
_PATH: Final = re.compile(r"[A-Za-z0-9._:/-]+")
_URL: Final = re.compile(r"https?://[^\s/]+(/\S*)?")
_TOKEN: Final = re.compile(r"[!-~]+")


class CallRefused(LookupError):
    """A service refused a call, or did not answer; the message is for the person who called."""


class CalledWrongly(CallRefused):
    """What was asked cannot be; the message names what is wrong with it."""


def base_url(settings: Settings, house: House, given: str | None = None) -> str:
    """Give the address of a house's API: the given one, else that of the settings.

    Raises `CalledWrongly` for what is no address.
    """
    url = (given or settings.url(house)).rstrip("/")
    if _URL.fullmatch(url) is None:
        raise CalledWrongly(f"{url} is no address of {house}: give one like http://127.0.0.1:8001")
    return url


def bearer(settings: Settings, kind: Literal["admin", "finance"], given: str | None = None) -> str:
    """Give the token to speak with: the given one, that of the environment, or the operator's.

    Raises LookupError when there is none, and `CalledWrongly` for what is none.
    """
    token = given or operator_token(settings, kind)
    if _TOKEN.fullmatch(token) is None:
        raise CalledWrongly("a token is one word, as `turnsheet token create` printed it")
    return token


def call(
    settings: Settings,
    house: House,
    method: str,
    path: str,
    body: Any = None,
    *,
    query: Mapping[str, str] | None = None,
    token: str | None = None,
    url: str | None = None,
    kind: Literal["admin", "finance"] = "finance",
) -> bytes:
    """Call a service and return the answer's bytes. Raises `CallRefused`.

    A POST carries an Idempotency-Key of its own. `kind` says which of the operator's tokens is
    used when neither `token` nor the environment gives one.
    """
    if _PATH.fullmatch(path) is None:
        raise CalledWrongly("ids and months hold letters, digits and . _ : - only")
    base = base_url(settings, house, url)
    headers = {"Authorization": f"Bearer {bearer(settings, kind, token)}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if method == "POST":
        headers["Idempotency-Key"] = uuid4().hex
    address = base + path + (f"?{urlencode(query)}" if query else "")
    raw = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, raw, headers, method=method)  # noqa: S310 (our services)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 (likewise)
            found: bytes = answer.read()
            return found
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error.code, error.read(), path) from None
    except OSError:
        raise CallRefused(
            f"no answer from {house} at {base}: `turnsheet status` shows what runs here"
        ) from None


def _refusal(status: int, raw: bytes, path: str) -> CallRefused:
    """Say what a problem says, what is wrong in particular, and what to do."""
    try:
        problem = json.loads(raw)
        title, detail = problem["title"], problem.get("detail")
    except (ValueError, KeyError, TypeError):
        return CallRefused(f"refused with status {status}")
    if status == HTTPStatus.NOT_FOUND:
        return CallRefused(f"there is no {path}, or this token may not see it")
    if status == HTTPStatus.UNAUTHORIZED:
        return CallRefused(
            f"{title}: set TURNSHEET_TOKEN; `turnsheet token list` shows who has one"
        )
    faults = [_fault(one) for one in problem.get("errors", ())][:FAULTS_SHOWN]
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return CalledWrongly("; ".join(faults) or title)
    return CallRefused("; ".join([title, *([detail] if detail else []), *faults]))


def _fault(fault: Mapping[str, Any]) -> str:
    """Name what is wrong: an option by its name, else a field of what was sent."""
    place, detail = str(fault.get("pointer", "")), fault.get("detail", "")
    name = place.removeprefix("/query").strip("/").split("/")[0].replace("_", "-")
    if not name:
        return str(detail)
    return f"--{name}: {detail}" if place.startswith("/query/") else f"{name}: {detail}"
