"""Words that must not come out anywhere: planted in every place where a client can put some.

Each canary is one of a kind, so that wherever it turns up it is known where it was planted. What
may lie on the log by design is planted too (`DECLARED`), and is looked for in all other places.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote
from zlib import crc32

from tests.fuzz.forgeries import BASE62, sealed
from tests.fuzz.world import event

SHAPES: dict[str, Callable[[str], str]] = {
    "name": lambda core: f"Maria {core} Delacruz",
    "e-mail": lambda core: f"{core}@hartwell.example",
    "matter": lambda core: f"State v. {core} (sealed)",
    "description": lambda core: f"call with {core} about the deposition",
    "secret": lambda core: f"hunter2 {core}!",
    "token": lambda core: sealed(f"tns_tracker_{'7' * 16}_{core:A<43}"),
}
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
LINES, BINARY = "application/x-ndjson", "application/json"
# The sender's own names for things, which it is answered, and which lie on the log in the event.
# Everything else that a client can write is refused, or goes nowhere.
DECLARED = ("id", "subject", "partitionkey", "traceparent", "tool")
MONTH = {"from": "2026-07-01", "to": "2026-07-29"}


class Asked(NamedTuple):
    """One call with a canary in it."""

    house: str
    method: str
    path: str
    who: str = "connection"
    raw: bytes = b""
    media: str = STRUCTURED
    more: Mapping[str, str] = {}


@dataclass(frozen=True)
class Canary:
    """A word of one shape, planted in one place."""

    core: str
    shape: str
    place: str
    asked: Asked

    def forms(self) -> set[bytes]:
        """How it may be written where it does not belong."""
        plain = self.core.encode()
        coded = {base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3)}
        return {plain, plain.hex().encode(), *coded}


def canaries(seed: int = 1) -> Iterator[Canary]:
    """Plant one of each shape in each place."""
    rng = Random(seed)
    for place, ask in places():
        for shape, form in SHAPES.items():
            core = "cnry" + "".join(rng.choices(BASE62, k=12))
            yield Canary(core, shape, place, ask(form(core)))


def places() -> Iterable[tuple[str, Callable[[str], Asked]]]:
    """List where a client can put words."""
    yield from _event_places()
    yield from _import_places()
    yield from _rest_places()
    yield from _header_places()


# Events, in all four modes

Spoil = Callable[[dict[str, Any], str], None]


def _into_data(key: str) -> Spoil:
    return lambda made, text: made["data"].__setitem__(key, f"{text} x")


def _into_envelope(key: str) -> Spoil:
    return lambda made, text: made.__setitem__(key, text)


SPOILED: dict[str, Spoil] = {
    "an unknown field": _into_data("description"),
    "a key of data": lambda made, text: made["data"].__setitem__(f"{text} x", 1),
    "a nested key": lambda made, text: made["data"].__setitem__("x", {f"{text} x": {}}),
    "matter_ref": _into_data("matter_ref"),
    "note_ref": _into_data("note_ref"),
    "task_type": _into_data("task_type"),
    "firm_id": _into_data("firm_id"),
    "entry_id": _into_data("entry_id"),
    "started_at": _into_data("started_at"),
    "kind": _into_data("kind"),
    "type": _into_envelope("type"),
    "time": _into_envelope("time"),
    "source": lambda made, text: made.__setitem__("source", f"{text} x"),
    "specversion": _into_envelope("specversion"),
}


def _event_places() -> Iterator[tuple[str, Callable[[str], Asked]]]:
    for mode in (STRUCTURED, BATCH, LINES, BINARY):
        for name, spoil in SPOILED.items():
            yield f"{name} in {mode}", _event_with(mode, spoil)
        for name in DECLARED:
            yield f"declared {name} in {mode}", _event_with(mode, _into_envelope(name))
        yield f"the whole body in {mode}", _bare(mode)
    yield "an extension's name", _event_with(STRUCTURED, lambda e, t: e.__setitem__(t, "x"))


def _bare(mode: str) -> Callable[[str], Asked]:
    return lambda text: Asked(
        "ingest", "POST", "/v1/events", raw=text.encode(), media=mode, more={"ce-type": "x"}
    )


def _event_with(mode: str, spoil: Spoil) -> Callable[[str], Asked]:
    def ask(text: str) -> Asked:
        name, now = f"k-{crc32(text.encode())}", datetime.now(UTC)
        made = event(
            "time.recorded", name, now, firm_id="firm-1", placement_id="pl-1", entry_id=name,
            task_type="intake", kind="work", billable=False, work_date=now.date().isoformat(),
            duration_seconds=1,
        )  # fmt: skip
        spoil(made, text)
        raw, more = json.dumps(made).encode(), {}
        if mode == BATCH:
            raw = b"[" + raw + b"]"
        if mode == BINARY:
            raw = json.dumps(made.pop("data")).encode()
            more = {f"ce-{name}": quote(str(value)) for name, value in made.items()}
        return Asked("ingest", "POST", "/v1/events", raw=raw, media=mode, more=more)

    return ask


# Imports

COLUMNS = (
    "User", "Email", "Client", "Project", "Task", "Description", "Billable", "Start date",
    "Start time", "End date", "End time", "Tags",
)  # fmt: skip
ROW = {
    "User": "M", "Email": "m@example.com", "Billable": "Yes", "Start date": "2026-07-02",
    "Start time": "09:00:00", "End date": "2026-07-02", "End time": "09:30:00",
}  # fmt: skip


def _import_places() -> Iterator[tuple[str, Callable[[str], Asked]]]:
    for column in COLUMNS:
        yield f"the column {column}", _import_of(column, mapped=False)
        yield f"the column {column}, mapped", _import_of(column, mapped=True)
    yield "a column's name", lambda text: _imported({"csv": f'"{text}",{_csv({})}', "mapping": {}})
    for word in ("client", "project", "task", "tag", "user", "matter_ref", "task_type"):
        yield f"a rule's {word}", _rule_with(word)
    yield "a rule's key", lambda text: _imported({"csv": _csv({}), "mapping": {text: 1}})
    yield "an import's zone", lambda t: _imported({"csv": ""}, f"format=toggl&timezone={quote(t)}")
    yield "an import's format", lambda t: _imported({"csv": ""}, f"format={quote(t)}&timezone=UTC")
    yield (
        "an import's firm",
        lambda text: _imported({"csv": _csv({})}, f"{TOGGL}&firm_id={quote(text)}%20x"),
    )
    yield "no file at all", lambda text: _imported({"csv": text})


TOGGL = "format=toggl&timezone=Asia/Manila"


def _csv(cells: Mapping[str, str]) -> str:
    row = ROW | dict(cells)
    quoted = ('"' + row.get(name, "").replace('"', '""') + '"' for name in COLUMNS)
    return ",".join(COLUMNS) + "\n" + ",".join(quoted) + "\n"


def _imported(body: Any, query: str = TOGGL) -> Asked:
    return Asked("ingest", "POST", f"/v1/imports?{query}", "admin", json.dumps(body).encode(),
                 BINARY)  # fmt: skip


def _import_of(column: str, *, mapped: bool) -> Callable[[str], Asked]:
    rule = {"firm_id": "firm-1", "placement_id": "pl-1", "task_type": "intake"}
    return lambda text: _imported(
        {
            "csv": _csv({"Email": f"{crc32(text.encode())}@example.com"} | {column: text}),
            "mapping": {"rule": [rule] if mapped else []},
        }
    )


def _rule_with(word: str) -> Callable[[str], Asked]:
    value = " x" if word in {"matter_ref", "task_type"} else ""
    return lambda text: _imported(
        {"csv": _csv({"Client": text, "Tags": text}), "mapping": {"rule": [{word: text + value}]}}
    )


# Calls of metrics and billing

BODIES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("PUT", "/v1/rate-cards", {"country": "PH", "role": "paralegal", "rate": "9.00",
                               "valid_from": "2026-01-01"}),
    ("PUT", "/v1/firms/firm-1/billing-terms", {"effective_month": "2020-01"}),
    ("POST", "/v1/firms/firm-1/timesheets/approve", {"entries": []}),
    ("POST", "/v1/runs", {"period": "2026-01", "firm_ids": []}),
    ("POST", "/v1/runs/x/issue", {"invoice_date": "2026-01-05"}),
)  # fmt: skip
QUERIES = (
    ("metrics", "/v1/firms/firm-1/metrics", MONTH | {"metric": "turnaround", "phase": "active",
                                                    "group_by": "phase", "clock": "wall"}),
    ("metrics", "/v1/firms/firm-1/metrics/turnaround/tasks", MONTH | {"task_type": "intake",
     "placement": "pl-1", "cursor": "x", "phase": "all"}),
    ("billing", "/v1/firms/firm-1/timesheets", MONTH),
    ("billing", "/v1/invoices", {"period": "2026-07", "firm_id": "firm-1"}),
)  # fmt: skip
PATHS = (
    ("metrics", "/v1/firms/{}/metrics?metric=turnaround&from=2026-07-01&to=2026-07-03"),
    ("metrics", "/v1/firms/firm-1/metrics/{}/tasks?from=2026-07-01&to=2026-07-03"),
    ("metrics", "/v1/firms/firm-1/scorecards/{}"),
    ("billing", "/v1/firms/{}/billing-terms"),
    ("billing", "/v1/invoices/{}"),
    ("billing", "/v1/invoices/{}.csv"),
    ("billing", "/v1/invoices/{}/lines/1/explain"),
    ("billing", "/v1/runs/{}"),
    ("billing", "/{}"),
)


def _rest_places() -> Iterator[tuple[str, Callable[[str], Asked]]]:
    for method, path, body in BODIES:
        for key in body:
            yield f"{key} of {path}", _body_with(method, path, body, key)
        yield f"a key of {path}", _body_with(method, path, body, None)
    for house, path, query in QUERIES:
        for key in [*query, "strange"]:
            yield f"{key} of {path}", _query_with(house, path, query, key)
    for house, path in PATHS:
        yield f"the address {path}", _path_with(house, path)


def _body_with(method: str, path: str, body: dict[str, Any], key: str | None) -> Any:
    def ask(text: str) -> Asked:
        made = body | ({key: f"{text} x"} if key else {f"{text} x": 1})
        raw = json.dumps(made).encode()
        return Asked("billing", method, path, "finance", raw, BINARY)

    return ask


def _query_with(house: str, path: str, query: dict[str, str], key: str) -> Any:
    def ask(text: str) -> Asked:
        made = query | {key: f"{text} x"}
        asked = "&".join(f"{name}={quote(value)}" for name, value in made.items())
        return Asked(house, "GET", f"{path}?{asked}", "finance")

    return ask


def _path_with(house: str, path: str) -> Callable[[str], Asked]:
    return lambda text: Asked(house, "GET", path.format(quote(text, safe="")), "finance")


HEADERS = (
    "User-Agent", "Referer", "Cookie", "X-Request-ID", "X-Client", "traceparent", "tracestate",
    "If-None-Match", "Accept", "Origin", "Forwarded", "Authorization", "Content-Encoding",
    "Content-Type", "Expect",
)  # fmt: skip


def _header_places() -> Iterator[tuple[str, Callable[[str], Asked]]]:
    for name in HEADERS:
        for asked in (
            Asked("ingest", "POST", "/v1/events", raw=b"{}"),
            Asked("metrics", "GET", "/v1/metric-definitions", "finance"),
            Asked("billing", "PUT", "/v1/rate-cards", "finance", b"{}", BINARY),
        ):
            yield f"the header {name} to {asked.house}", _header_of(asked, name)
    yield (
        "a bearer token",
        lambda text: Asked(
            "billing", "GET", "/v1/rate-cards", "finance", more={"Authorization": f"Bearer {text}"}
        ),
    )


def _header_of(asked: Asked, name: str) -> Callable[[str], Asked]:
    return lambda text: asked._replace(more={name: text})
