"""Routes as data: method, address, permission and models; nothing is served that is not here."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from aiohttp import web
from pydantic import BaseModel

from services.web.auth import SCOPES, Scope

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Method = Literal["GET", "POST", "PUT", "DELETE"]
JSON: Final = "application/json"
KEY_HEADER: Final = "Idempotency-Key"
KEY_PATTERN: Final = r"^[\x21-\x7e]{1,255}$"
_VARIABLE: Final = re.compile(r"\{([a-z_]+)(?::[^}]*)?\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One call of a service.

    scope     the permission that the token must carry; None: anyone may call
    request   the model of a JSON body, read before the handler runs: `body_of(request, Model)`
    query     the model of the query (extra="forbid"): `query_of(request, Model)`
    variables the model of the address's variables; without one each has to be an Id
    raw       media types of a body that the handler takes as it came: `read_raw`
    response  the model of the answer, `media` its type, `status` its code when all went well
    refusals  statuses of problems that this call has, besides those of every call of its sort
    headers   headers of the answer when all went well, each with what it says
    office    only for whoever sees all firms: what it reads or changes is not one firm's
    keyed     the call has to carry an Idempotency-Key, under which it is safe to repeat

    A variable {firm} is checked against the token's bindings before anything else is looked at.
    """

    method: Method
    path: str
    handler: Handler
    scope: Scope | None
    summary: str
    request: Any = None
    response: Any = None
    query: type[BaseModel] | None = None
    variables: type[BaseModel] | None = None
    raw: tuple[str, ...] = ()
    media: str = JSON
    status: int = 200
    refusals: tuple[int, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    office: bool = False
    keyed: bool = False
    description: str = ""
    tags: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The address's variables, from left to right."""
        return tuple(_VARIABLE.findall(self.path))

    @property
    def accepts(self) -> tuple[str, ...]:
        """Media types of the body; empty when there is none."""
        return self.raw or ((JSON,) if self.request is not None else ())


class RouteError(ValueError):
    """A table of routes breaks its own rules; found when the service starts."""


def check_routes(routes: Sequence[Route]) -> None:
    """Raise RouteError for a table that could not be served as it is described."""
    seen: set[tuple[str, str]] = set()
    for route in routes:
        name = f"{route.method} {route.path}"
        place = (route.method, _VARIABLE.sub("{}", route.path))
        if place in seen:
            raise RouteError(f"{name}: an address is described twice")
        seen.add(place)
        if route.scope is not None and route.scope not in SCOPES:
            raise RouteError(f"{name}: there is no scope {route.scope}")
        if route.office and (route.scope is None or "firm" in route.names):
            raise RouteError(f"{name}: a call of the office has a scope, and is not one firm's")
        if "firm" in route.names and route.scope is None:
            raise RouteError(f"{name}: a firm's data needs a scope")
        if route.request is not None and route.raw:
            raise RouteError(f"{name}: a body is read by its model or by the handler, not both")
        if route.method == "GET" and route.accepts:
            raise RouteError(f"{name}: a GET has no body")
        if route.query is not None and route.query.model_config.get("extra") != "forbid":
            raise RouteError(f"{name}: the query's model has to forbid unknown names")
        if not route.summary:
            raise RouteError(f"{name}: a call needs a summary")
