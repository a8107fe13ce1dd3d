"""A small REST client for commands: what goes wrong becomes one sentence that says what to do."""

import json
import re
import urllib.error
import urllib.request
from typing import Any, Final, Literal
from uuid import uuid4

from services.machine.operator_tokens import operator_token
from services.postgres import House
from services.settings import Settings

SECONDS = 30.0
_PATH: Final = re.compile(r"[A-Za-z0-9._:/-]+(\?[A-Za-z0-9._:=&-]*)?")


class CallRefused(LookupError):
    """A service refused a call, or did not answer; the message is for the person who called."""


def call(
    settings: Settings,
    house: House,
    method: str,
    path: str,
    body: Any = None,
    *,
    kind: Literal["admin", "finance"] = "finance",
) -> bytes:
    """Call a service and return the answer's bytes. Raises `CallRefused`.

    A POST carries an Idempotency-Key of its own. `kind` says which of the operator's tokens is
    used when the environment gives none.
    """
    if _PATH.fullmatch(path) is None:
        raise CallRefused("ids and months hold letters, digits and . _ : - only")
    url = settings.url(house) + path
    headers = {"Authorization": f"Bearer {operator_token(settings, kind)}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if method == "POST":
        headers["Idempotency-Key"] = uuid4().hex
    raw = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, raw, headers, method=method)  # noqa: S310 (our services)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 (likewise)
            found: bytes = answer.read()
            return found
    except urllib.error.HTTPError as error:
        with error:
            raise CallRefused(_sentence(error.code, error.read())) from None
    except OSError:
        raise CallRefused(f"{house} does not answer at {settings.url(house)}: is it up?") from None


def _sentence(status: int, raw: bytes) -> str:
    """Say what a problem says, with the first thing that is wrong."""
    try:
        problem = json.loads(raw)
    except ValueError:
        return f"refused with status {status}"
    words = [problem.get("title", f"refused with status {status}")]
    if problem.get("detail"):
        words.append(problem["detail"])
    words += [f"{e.get('pointer', '')}: {e.get('detail', '')}" for e in problem.get("errors", ())]
    return "; ".join(words[:3])
