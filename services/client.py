"""A small REST client for commands: what goes wrong becomes one sentence that says what to do."""

import inspect
import json
import re
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from http.client import HTTPException, IncompleteRead
from typing import Any, Final, Literal
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

from services.machine.operator_tokens import operator_token
from services.postgres import House
from services.refusals import Refused
from services.settings import Settings, load
from services.terminal import TokenText, Url, err

Command = Callable[..., None]
Kind = Literal["admin", "finance"]
SECONDS = 30.0
SILENT_SECONDS = 2.0
FAULTS_SHOWN: Final = 3
JSON: Final = "application/json"
OPTIONS: Final = {
    "effective_month": "from",
    "excluded_kinds": "exclude-kind",
    "excluded_phases": "exclude-phase",
    "firm_id": "firm",
    "firm_ids": "firm",
    "from_date": "from",
    "increment_minutes": "increment",
    "invoice_date": "date",
    "placement_id": "placement",
    "to_date": "to",
    "valid_from": "from",
}  # of the fields that the options of commands fill, those that have another name
_SPEAKING: Final = {"token": TokenText, "url": Url}
_PLACES: Final = {"query", "path", "header"}  # what a pointer outside a body begins with
_PATH: Final = re.compile(r"[A-Za-z0-9._:/-]+")
_URL: Final = re.compile(r"https?://[!-.0-~]+(/[!-~]*)?")
_TOKEN: Final = re.compile(r"[!-~]+")


class CallRefused(Refused):
    """A service refused a call, or did not answer; the message is for the person who called."""


class CalledWrongly(CallRefused):
    """What was asked cannot be; the message names what is wrong with it."""


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: no service of ours sends one, and the token would go along."""

    def redirect_request(self, *_: object) -> None:
        """Leave a redirect as the answer that it is."""


# Straight to the service: a proxy would read the token.
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)


def _has_place(url: str) -> bool:
    """Say whether an address names a host, and a port that can be."""
    try:
        place = urlsplit(url)
        return bool(place.hostname) and place.port != 0
    except ValueError:
        return False


@dataclass
class Service:
    """A house as a command speaks to it: `token` and `url` are what was given to the command.

    `kind` says which of the operator's tokens is used when neither `token` nor the environment
    gives one.
    """

    settings: Settings
    house: House
    token: str | None = None
    url: str | None = None
    kind: Kind = "finance"
    waited: bool = False

    @property
    def base(self) -> str:
        """The address of the house. Raises `CalledWrongly` for what is no address."""
        url = (self.url or self.settings.url(self.house)).rstrip("/")
        if _URL.fullmatch(url) is None or not _has_place(url):
            raise CalledWrongly(
                f"{url} is no address of {self.house}: give one like http://127.0.0.1:8001"
            )
        return url

    @property
    def bearer(self) -> str:
        """The given token, that of the environment, or the operator's.

        Raises `Refused` when there is none, and `CalledWrongly` for what is none.
        """
        token = self.token or operator_token(self.settings, self.kind)
        if _TOKEN.fullmatch(token) is None:
            raise CalledWrongly("a token is one word, as `turnsheet token create` printed it")
        return token

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        has: str,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """Call, and return the object that is answered; `has` is a member that it must have.

        Raises `CallRefused`.
        """
        try:
            found = json.loads(self.call(method, path, body, query=query))
        except ValueError:
            raise self._stranger("its JSON is none") from None
        if not isinstance(found, dict) or has not in found:
            raise self._stranger(f"its answer has no {has}")
        return found

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        media: str = JSON,
    ) -> bytes:
        """Call, straight and by no proxy, and return the answer's bytes. Raises `CallRefused`.

        A POST carries an Idempotency-Key of its own.
        """
        request = self._request(method, path, body, query)
        try:
            with self._patience(), _OPENER.open(request, timeout=SECONDS) as answer:
                found: bytes = answer.read()
                told = answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            raise self._refusal(error, path) from None
        except (OSError, HTTPException) as error:
            raise self._unanswered(error) from None
        if told != media:
            raise self._stranger(f"it answers {told}")
        return found

    def _request(
        self, method: str, path: str, body: Any, query: Mapping[str, str] | None
    ) -> urllib.request.Request:
        if _PATH.fullmatch(path) is None:
            raise CalledWrongly("ids and months hold letters, digits and . _ : - only")
        address = self.base + path + (f"?{urlencode(query)}" if query else "")
        headers = {"Authorization": f"Bearer {self.bearer}"}
        if body is not None:
            headers["Content-Type"] = JSON
        if method == "POST":
            headers["Idempotency-Key"] = uuid4().hex
        raw = None if body is None else json.dumps(body).encode()
        return urllib.request.Request(address, raw, headers, method=method)  # noqa: S310 (our services)

    @contextmanager
    def _patience(self) -> Iterator[None]:
        """Say once that an answer is waited for, when it takes its time."""

        def tell() -> None:
            self.waited = True
            err.print(f"no answer from {self.base} yet: waiting for up to {SECONDS:.0f} s")

        timer = threading.Timer(SILENT_SECONDS, tell)
        timer.daemon = True
        if not self.waited:
            timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _unanswered(self, error: OSError | HTTPException) -> CallRefused:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return CallRefused(f"no secure connection to {self.base}: {reason.reason or reason}")
        if not isinstance(error, OSError | IncompleteRead):
            return self._stranger("it speaks no HTTP")
        return CallRefused(
            f"no answer from {self.house} at {self.base}: `turnsheet status` shows what runs here"
        )

    def _stranger(self, why: str) -> CallRefused:
        return CallRefused(f"what answers at {self.base} is not {self.house}: {why}")

    def _refusal(self, error: urllib.error.HTTPError, path: str) -> CallRefused:
        """Say what a problem says, what is wrong in particular, and what to do."""
        try:
            with error:
                problem = json.loads(error.read())
            title, detail = problem["title"], problem.get("detail")
            faults = [_fault(one) for one in problem.get("errors", ())]
        except (ValueError, LookupError, TypeError, AttributeError, OSError, HTTPException):
            return self._stranger(f"it answers {error.code}")
        if error.code == HTTPStatus.NOT_FOUND:
            return CallRefused(f"there is no {path}, or this token may not see it")
        if error.code == HTTPStatus.UNAUTHORIZED:
            given = "give another --token" if self.token else "set TURNSHEET_TOKEN"
            return CallRefused(f"{title}: {given}; `turnsheet token list` shows who has one")
        if error.code == HTTPStatus.UNPROCESSABLE_ENTITY:
            return CalledWrongly("; ".join(faults[:FAULTS_SHOWN]) or title)
        return CallRefused(
            "; ".join([title, *([detail] if detail else []), *faults[:FAULTS_SHOWN]])
        )


def call(settings: Settings, house: House, method: str, path: str, body: Any = None) -> bytes:
    """Call a house as the operator does; what `Service.call` does and raises."""
    return Service(settings, house).call(method, path, body)


def speaks(house: House, kind: Kind = "finance") -> Callable[[Command], Command]:
    """Give a command --token and --url; it is told the service that they name, and takes --json."""

    def wrap(command: Command) -> Command:
        @wraps(command)
        def run(token: str | None = None, url: str | None = None, **given: Any) -> None:
            command(Service(load(), house, token, url, kind), **given)

        _, *own, as_json = inspect.signature(command, eval_str=True).parameters.values()
        more = [as_json.replace(name=n, annotation=a, default=None) for n, a in _SPEAKING.items()]
        asked = [*own, *more, as_json]
        run.__signature__ = inspect.Signature(asked)  # type: ignore[attr-defined]  # typer reads it
        run.__annotations__ = {option.name: option.annotation for option in asked}
        return run

    return wrap


def _fault(fault: Mapping[str, Any]) -> str:
    """Name what is wrong: an option by its name, else the argument or header."""
    detail = str(fault.get("detail", ""))
    place, *inside = str(fault.get("pointer", "")).strip("/").split("/")
    name = inside[0] if place in _PLACES and inside else place
    if not name:
        return detail
    if place in {"path", "header"}:
        return f"{name}: {detail}"
    return f"--{OPTIONS.get(name, name.replace('_', '-'))}: {detail}"
