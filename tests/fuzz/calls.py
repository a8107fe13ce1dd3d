"""Every published call, asked by everyone with everything; each answer is held to its OpenAPI."""

import asyncio
import itertools
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from requests.structures import CaseInsensitiveDict
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation.case import Case as SchemaCase
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from services.web.auth import DEFAULT_SCOPES, KINDS
from tests import wire
from tests.fuzz.world import World, event

Case: TypeAlias = SchemaCase[Any]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    missing_required_header,
    allow_header_conformance,
]
# Documented for when a part is away, slow or overrun: broken parts and deadlines are tested with
# broken parts and slow clients, not here.
NOT_HERE = {408, 429, 500, 503}
BROKEN = {("GET /v1/runs/{run}/replay", 409)}  # what a run saw is gone: tests/races/test_as_of.py
METHODS = {"get", "put", "post", "delete", "patch"}


def published(world: World, house: str) -> dict[str, Any]:
    """Fetch a service's own description, and see that it is one."""
    found: dict[str, Any] = world.done(house, "GET", f"/openapi/{house}.json")
    validate(found)
    return found


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """Refuse, beyond what the description says, every member that a model does not name."""
    made = deepcopy(document)
    for name, model in made["components"]["schemas"].items():
        if "properties" in model and not name.endswith("In"):
            model.setdefault("additionalProperties", False)
    return made


@dataclass
class Tour:
    """What was asked of one service, and what it answered."""

    world: World
    house: str
    document: dict[str, Any]
    seen: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def of(cls, world: World, house: str) -> "Tour":
        return cls(world, house, published(world, house))

    def __post_init__(self) -> None:
        self.schema = schemathesis.openapi.from_dict(closed(self.document))
        self.session = requests.Session()
        self.url = self.world.url(self.house)

    @property
    def count(self) -> int:
        return self.seen.total()

    def operations(self) -> list[Any]:
        found = list(self.schema.get_all_operations())
        good = [one.ok() for one in found if isinstance(one, Ok)]
        assert len(good) == len(found), found
        return good

    def send(self, case: Case, who: str | None) -> None:
        """Ask, and hold the answer to its description."""
        headers = dict(case.headers or {})
        if who is not None:
            token = self.world.tokens.get(who) or self.world.dead_tokens[who]
            headers["Authorization"] = f"Bearer {token}"
        case.headers = CaseInsensitiveDict(headers)
        response = case.call(base_url=self.url, session=self.session)
        self.seen[case.operation.label, response.status_code] += 1
        case.validate_response(response, checks=CHECKS, headers=headers)

    def explore(self, count: int, seed_number: int) -> None:
        """Ask every call `count` times, with data that fits and data that does not."""
        for number, operation in enumerate(self.operations()):

            @seed(seed_number * 1_000 + number)
            @settings(
                max_examples=count,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=cases(self, operation), who=callers(self, operation))
            def ask(case: Case, who: str | None) -> None:
                self.send(case, who)

            ask()

    def summary(self) -> str:
        """Say how often each status was answered."""
        by_status: Counter[int] = Counter()
        for (_, status), count in self.seen.items():
            by_status[status] += count
        return " ".join(f"{status}:{count}" for status, count in sorted(by_status.items()))

    def missing(self) -> list[str]:
        """List calls that nobody reached, and documented statuses that no answer had."""
        return [
            f"{method.upper()} {path}: never {status}"
            for path, methods in self.document["paths"].items()
            for method, operation in methods.items()
            if method in METHODS
            for status in sorted(map(int, operation["responses"]))
            if status not in NOT_HERE
            and (f"{method.upper()} {path}", status) not in BROKEN
            and not self.seen[f"{method.upper()} {path}", status]
        ]


def callers(tour: Tour, operation: Any) -> st.SearchStrategy[str | None]:
    """Whoever calls: mostly one who may, at times anyone, or nobody."""
    scope = operation.definition.raw.get("x-scope")
    able = able_to(scope)
    anyone = [None, *tour.world.tokens, *tour.world.dead_tokens]
    return st.one_of(*[st.sampled_from(able)] * 4, st.sampled_from(anyone))


def able_to(scope: str | None) -> list[str]:
    """Name tokens that carry a scope."""
    return [kind for kind in KINDS if scope is None or scope in DEFAULT_SCOPES[kind]]


def cases(tour: Tour, operation: Any) -> st.SearchStrategy[Case]:
    """Requests to one call: about what is there, about what is not, and such as break its rules."""
    plain = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    broken = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    return st.one_of(plain, fitting(tour, operation), fitting(tour, operation), broken)


def fitting(tour: Tour, operation: Any) -> st.SearchStrategy[Case]:
    """Requests that fit the description and speak of what lies in the books."""
    known = tour.world.known
    raw = operation.definition.raw
    names = [one["name"] for one in raw.get("parameters", ()) if one["in"] == "path"]
    values: dict[str, list[Any]] = {
        "firm": known["firm"],
        "run": known["run"],
        "invoice": known["invoice"],
        "line": [1],
        "iso_week": known["week"],
    }

    @st.composite
    def make(draw: Callable[..., Any]) -> Case:
        path = {name: draw(st.sampled_from(values[name])) for name in names if name in values}
        strategy = operation.as_strategy(
            generation_mode=GenerationMode.POSITIVE, path_parameters=path or None
        )
        case: Case = draw(strategy)
        if "from" in (case.query or {}):
            period = draw(st.sampled_from(known["period"]))
            case.query = {**case.query, "from": f"{period}-01", "to": f"{period}-28"}
        (case.query or {}).pop("cursor", None)
        if isinstance(case.body, dict):
            case.body = fitting_body(tour, draw, case.body)
        if operation.path == "/v1/events":
            case.media_type = "application/cloudevents+json"
            case.body = draw(st.sampled_from([own_event(tour), {}, [own_event(tour)]]))
        return case

    return make()


def fitting_body(tour: Tour, draw: Callable[..., Any], body: dict[str, Any]) -> dict[str, Any]:
    """Let a body speak of what lies in the books, where it speaks of such things at all."""
    known = tour.world.known
    found = dict(body)
    if "period" in found:
        found["period"] = draw(st.sampled_from(known["period"]))
        found["firm_ids"] = draw(st.sampled_from([None, known["firm"], ["firm-1", "nobody"]]))
    return found


def own_event(tour: Tour) -> dict[str, Any]:
    """An event that a connection, a firm or an admin may send."""
    number = next(tour.numbers)
    return event(
        "event.retracted", f"x-{number}", datetime.now(UTC), "desk/firm-1", firm_id="firm-1",
        placement_id="pl-1", target_source="nobody", target_id="nothing", entry_id=f"none-{number}",
        reason="fuzz",
    )  # fmt: skip


# Probes: what every call answers where it should, once each


def probe(tour: Tour) -> None:
    """Ask each call so that each documented answer is due."""
    for operation in tour.operations():
        for case, who in [*refused(tour, operation), *granted(tour, operation)]:
            tour.send(case, who)
        asyncio.run(_malformed(tour, operation))


def granted(tour: Tour, operation: Any) -> Iterator[tuple[Case, str]]:
    """The call as it is meant, and, of a read, once more by whoever has the answer already."""
    who = able_to(operation.definition.raw.get("x-scope"))[0]
    who = "finance" if tour.house == "billing" else who
    made = meant(tour, operation)
    yield made, who
    if operation.method == "get":
        again = meant(tour, operation)
        again.headers = CaseInsensitiveDict({"If-None-Match": "*"})
        yield again, who


def refused(tour: Tour, operation: Any) -> Iterator[tuple[Case, str | None]]:
    """The call by nobody, by one who may not, about nothing, with too much, or at a wrong time."""
    raw = operation.definition.raw
    scope, able = raw.get("x-scope"), able_to(raw.get("x-scope"))
    who = "finance" if "finance" in able else able[0]
    if scope is not None:
        yield meant(tour, operation), None
        yield meant(tour, operation), next(k for k in tour.world.tokens if k not in able)
    if "404" in raw["responses"]:
        nowhere = meant(tour, operation)
        nowhere.path_parameters = dict.fromkeys(nowhere.path_parameters, "nobody") | {
            name: value
            for name, value in nowhere.path_parameters.items()
            if name in {"line", "iso_week", "metric"}
        }
        bound = who == "finance" and raw.get("x-firms") != "*"
        yield nowhere, "finance-1" if bound else who
    if raw.get("x-firms") == "*":
        yield meant(tour, operation), "finance-1"
    strange = meant(tour, operation)
    strange.query = {**(strange.query or {}), "nobody_knows": "1"}
    yield strange, who
    if "409" in raw["responses"]:
        yield early(tour, operation), who
    if "requestBody" in raw:
        other = meant(tour, operation)
        other.media_type = "text/plain"
        other.headers = CaseInsensitiveDict(
            dict(other.headers or {}) | {"Content-Type": "text/plain"}
        )
        other.body = b"words"
        yield other, who


def early(tour: Tour, operation: Any) -> Case:
    """A call that comes before its time, or after it."""
    case = meant(tour, operation)
    known = tour.world.known
    if operation.path.endswith("/approve"):
        case.path_parameters = {"invoice": known["issued"][0]}
    elif operation.path.startswith("/v1/runs"):
        case.path_parameters = {"run": known["dry_run"][0]}
    else:
        case.path_parameters = {**case.path_parameters, "invoice": known["draft"][0]}
    return case


def meant(tour: Tour, operation: Any) -> Case:
    """The call as it is meant to be used, about what lies in the books."""
    known, month = tour.world.known, tour.world.known["period"][0]
    path = {"firm": "firm-1", "run": known["run"][0], "invoice": known["issued"][0], "line": 1,
            "metric": "turnaround", "iso_week": known["week"][0]}  # fmt: skip
    span = {"from": f"{month}-01", "to": f"{month}-28"}
    query: dict[str, dict[str, Any]] = {
        "GET /v1/firms/{firm}/metrics": span | {"metric": "turnaround"},
        "GET /v1/firms/{firm}/metrics/{metric}/tasks": span,
        "GET /v1/firms/{firm}/timesheets": span,
        "GET /v1/runs": {"period": month},
        "POST /v1/imports": {"format": "toggl", "timezone": "Asia/Manila"},
    }
    bodies: dict[str, Any] = {
        "PUT /v1/rate-cards": RATE,
        "PUT /v1/firms/{firm}/billing-terms": {"effective_month": "2020-01", "approval": "none"},
        "POST /v1/firms/{firm}/timesheets/approve": {"from_date": f"{month}-01",
                                                     "to_date": f"{month}-28"},
        "POST /v1/runs": {"period": known["period"][2], "dry_run": True},
        "POST /v1/runs/{run}/issue": {"invoice_date": "2026-01-05"},
        "POST /v1/invoices/{invoice}/issue": {"invoice_date": "2026-01-05"},
        "POST /v1/imports": {"csv": TOGGL},
        "POST /v1/events": own_event(tour),
    }  # fmt: skip
    label = operation.label
    more: dict[str, Any] = {}
    if label in bodies:
        media = "application/cloudevents+json" if "events" in label else "application/json"
        more = {"body": bodies[label], "media_type": media}
    if label == "POST /v1/invoices/{invoice}/approve":
        path["invoice"] = known["approvable"][0]
    names = [one["name"] for one in operation.definition.raw["parameters"] if one["in"] == "path"]
    case: Case = operation.Case(
        path_parameters={name: path[name] for name in names},
        query=query.get(operation.label, {}),
        headers={"Idempotency-Key": secrets.token_hex(8)} if operation.method == "post" else {},
        **more,
    )
    return case


async def _malformed(tour: Tour, operation: Any) -> None:
    """What is no HTTP at all, and what is more than we take."""
    host, port = tour.world.settings.host, getattr(tour.world.settings, f"{tour.house}_port")
    raw = operation.definition.raw
    able = able_to(raw.get("x-scope"))
    token = tour.world.tokens["finance" if "finance" in able else able[0]]
    path = meant(tour, operation).formatted_path
    sent = [wire.request(operation.method.upper(), path, [("no name", "x")])]
    if "requestBody" in raw:
        path += "?format=toggl&timezone=UTC" if path.endswith("imports") else ""
        large = ("Content-Length", str(5 * 1024 * 1024))
        kind = ("Content-Type", next(iter(raw["requestBody"]["content"])))
        for more in (large, ("Expect", "nothing")):
            headers = [("Authorization", f"Bearer {token}"), kind, more]
            sent.append(wire.request(operation.method.upper(), path, headers))
    for one in sent:
        answer = await wire.ask_once(host, port, one)
        assert answer is not None, one
        assert str(answer.status) in raw["responses"], (one, answer)
        assert answer.header("content-type") == "application/problem+json", answer
        assert answer.json["status"] == answer.status
        tour.seen[operation.label, answer.status] += 1


RATE = {
    "country": "PH",
    "role": "paralegal",
    "rate": "21.50",
    "valid_from": "2020-01-01",
}
TOGGL = (
    "User,Email,Client,Project,Task,Description,Billable,Start date,Start time,End date,End time,"
    "Duration,Tags\nM,m@example.com,C,P,,d,Yes,2026-07-01,09:00:00,2026-07-01,10:00:00,01:00:00,\n"
)
