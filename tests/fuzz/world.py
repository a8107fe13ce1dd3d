"""The three services as processes on real servers, with a firm's books in them and tokens to call.

What they say is kept: their words lie in `words()`, at the finest level that there is.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord

from schemas.events import TOPICS
from schemas.periods import Month, Week
from services.billing.consumer import READING as BILLING
from services.ingest.consumer import READING as INGEST
from services.kafka import ensure_topics, log_ends
from services.machine.children import SERVICES, Child, await_ready, start_child, stop_children
from services.metrics.consumer import READING as METRICS
from services.postgres import connect
from services.settings import CHOSEN, Settings, write_private
from services.web.auth import KINDS, Kind, revoke_token
from tests.log import applied, records
from tests.servers import with_ports
from tests.tokens import TESTER, make_token

READINGS = (INGEST, METRICS, BILLING)
SETTLE_SECONDS = 60.0
LOG_SECONDS = 12.0  # the most there is: no knock here is about a log that confirms late
SOURCE = "tracker/as-1"


@dataclass
class World:
    """What runs, whom it knows, and what lies in its books."""

    settings: Settings
    children: list[Child]
    tokens: dict[str, str] = field(default_factory=dict)
    dead_tokens: dict[str, str] = field(default_factory=dict)
    known: dict[str, list[str]] = field(default_factory=dict)

    def url(self, house: str) -> str:
        return self.settings.url(house)

    def words(self) -> bytes:
        """All that the processes have written so far."""
        return b"".join(child.log.read_bytes() for child in self.children)

    def check_alive(self) -> None:
        assert [child.name for child in self.children if child.ended] == []

    def call(
        self,
        house: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        who: str = "finance",
        media: str = "application/json",
        raw: bytes | None = None,
        more: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Call a service as one of the tokens by name; the answer as JSON, or as bytes."""
        headers = {"Authorization": f"Bearer {self.tokens[who]}", "Content-Type": media}
        headers |= more or {}
        if method == "POST":
            headers["Idempotency-Key"] = secrets.token_hex(8)
        port = getattr(self.settings, f"{house}_port")
        conn = HTTPConnection(self.settings.host, port, timeout=30)
        try:
            conn.request(method, path, raw if body is None else json.dumps(body), headers)
            answer = conn.getresponse()
            found = answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "")
            return answer.status, json.loads(found) if is_json else found
        finally:
            conn.close()

    def done(self, house: str, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Call, and have it done."""
        status, answer = self.call(house, method, path, body, **more)
        assert status in {200, 202}, (method, path, status, answer)
        return answer

    def settle(self) -> None:
        """Wait until every house has applied all that is on the log."""
        for reading in READINGS:
            asyncio.run(applied(self.settings, reading, seconds=SETTLE_SECONDS))

    async def ends(self) -> dict[tuple[str, int], int]:
        """The end of each partition of the log."""
        return await log_ends(self.settings, [self.settings.topic(name) for name in TOPICS])

    async def records(
        self, since: dict[tuple[str, int], int] | None = None
    ) -> list[ConsumerRecord]:
        """Read the log, from its beginning or from some ends on, to its ends now."""
        return await records(self.settings, TOPICS, since)


@contextmanager
def running(base: Settings, home: Path) -> Iterator[World]:
    """Run the three services for the length of a block."""
    told = {"home": home, "log_level": "debug", "produce_deadline_seconds": LOG_SECONDS}
    settings = with_ports(base).model_copy(update=told)
    write_private(
        home / CHOSEN,
        {
            name: getattr(settings, name).get_secret_value()
            for name in ("token_pepper", "database_role_password")
        },
    )
    asyncio.run(ensure_topics(settings))
    children: list[Child] = []
    try:
        children += [start_child(name, settings) for name in SERVICES]
        for child in children:
            await_ready(child, settings, lambda: None)
        world = World(settings, children)
        asyncio.run(_make_tokens(world))
        yield world
        world.check_alive()
    finally:
        stop_children(children)


async def _make_tokens(world: World) -> None:
    """A token of each kind for firm-1, some that see all firms, and some that hold no more."""
    now = datetime.now(UTC)
    conn = await connect(world.settings, "identity", "writer")

    async def make(kind: Kind, who: str, firms: Sequence[str], **more: Any) -> str:
        bounds = {"firms": firms, "placements": ("*",), "sources": ("*",)} | more
        return await make_token(world.settings, kind, principal_id=f"{kind}:{who}", **bounds)

    narrow = {"placements": ("pl-1",), "sources": (SOURCE,), "scopes": ("events:write", "import")}
    try:
        for kind in KINDS:
            office = kind in {"finance", "approver", "admin", "auditor"}
            more = narrow if kind == "tracker" else {}
            world.tokens[kind] = await make(kind, "one", ("*",) if office else ("firm-1",), **more)
        world.tokens["finance-1"] = await make("finance", "narrow", ("firm-1",))
        world.tokens["firm-2"] = await make("firm", "two", ("firm-2",))
        world.tokens["connection-2"] = await make("connection", "two", ("firm-2",))
        for kind in KINDS:
            world.dead_tokens[f"expired {kind}"] = await make(
                kind, "late", ("*",), expires_at=now - timedelta(seconds=1)
            )
            revoked = await make(kind, "out", ("*",))
            await revoke_token(conn, revoked.split("_")[2], actor=TESTER, now=now)
            world.dead_tokens[f"revoked {kind}"] = revoked
        disabled = await make("admin", "gone", ("*",))
        await conn.execute(
            "update principal set disabled_at = now() where principal_id = 'admin:gone'"
        )
        world.dead_tokens["disabled admin"] = disabled
    finally:
        await conn.close()


# What lies in the books


def months_ago(count: int) -> Month:
    """A month that is over."""
    month = Month.of(datetime.now(UTC).date())
    for _ in range(count):
        month = month.previous()
    return month


def event(name: str, event_id: str, time_at: datetime, source: str = SOURCE, /,
          **data: Any) -> dict[str, Any]:  # fmt: skip
    """Write an event as its sender does."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": f"turnsheet.{name}.v1",
        "time": time_at.isoformat(),
        "data": data,
    }


def fill(world: World) -> None:
    """Put two firms, their work, a month that is issued and one that is drafted into the books."""
    issued, drafted = months_ago(3), months_ago(2)
    for number in (1, 2):
        _tell(world, "admin", _directory(number))
    world.settle()
    for number, sender in ((1, "connection"), (2, "connection-2")):
        for month in (issued, drafted):
            _tell(world, sender, _work(number, month))
    _tell(world, "firm", _reviews(issued))
    world.settle()
    card = {"country": "PH", "role": "legal_assistant", "rate": "15.25", "valid_from": "2020-01-01"}
    world.done("billing", "PUT", "/v1/rate-cards", card)
    for number in (1, 2):
        terms = {"approval": "none", "effective_month": "2020-01"}
        world.done("billing", "PUT", f"/v1/firms/firm-{number}/billing-terms", terms)
    run, invoices = _run(world, issued)
    for invoice in invoices:
        world.done("billing", "POST", f"/v1/invoices/{invoice}/approve")
    told = world.done("billing", "POST", f"/v1/runs/{run}/issue", {"invoice_date": "2026-01-05"})
    numbers = [invoice["number"] for invoice in told["issued"]]
    later, drafts = _run(world, drafted)
    dry = world.done("billing", "POST", "/v1/runs", {"period": str(issued), "dry_run": True})
    world.known |= {
        "firm": ["firm-1", "firm-2"],
        "run": [run, later],
        "dry_run": [dry["run_id"]],
        "invoice": [*invoices, *numbers, *drafts],
        "issued": [*numbers, *invoices],
        "draft": drafts[:1],
        "approvable": drafts[1:],
        "week": [str(Week.of(issued.first_date + timedelta(days=7)))],
        "placement": ["pl-1", "pl-2"],
        "period": [str(issued), str(drafted), str(months_ago(1))],
    }


def _tell(world: World, sender: str, events: Sequence[dict[str, Any]]) -> None:
    lines = b"\n".join(json.dumps(one).encode() for one in events)
    answer = world.done(
        "ingest", "POST", "/v1/events", raw=lines, media="application/x-ndjson", who=sender
    )
    assert answer["rejected"] == 0, answer


def _directory(number: int) -> list[dict[str, Any]]:
    firm, began = f"firm-{number}", datetime.now(UTC) - timedelta(days=300)
    slots = [{"weekday": day, "start": "09:00", "minutes": 480} for day in range(1, 6)]
    return [
        event("firm.registered", f"d-{number}", began, "desk/office", firm_id=firm,
              timezone="America/New_York", country="US", currency="USD"),
        event("firm.calendar_changed", f"c-{number}", began, "desk/office", firm_id=firm,
              zone="America/New_York", slots=slots, closed_dates=[], overrides=[],
              effective_date="2020-01-01"),
        event("placement.started", f"p-{number}", began, "desk/office", firm_id=firm,
              placement_id=f"pl-{number}", assistant_id=f"as-{number}", role="legal_assistant",
              country="PH", phase="active", coverage="overlap", supervising_attorney_id="at-1",
              shift={"zone": "Asia/Manila", "slots": slots},
              started_at="2020-01-01T00:00:00-05:00"),
    ]  # fmt: skip


def _work(number: int, month: Month) -> list[dict[str, Any]]:
    return [made for day in range(1, 9) for made in _day(number, month, day)]


def _day(number: int, month: Month, day: int) -> list[dict[str, Any]]:
    began = datetime.fromisoformat(f"{month}-{day + 5:02}T15:00:00+00:00")
    name, source = f"{number}-{month}-{day}", f"tracker/as-{number}"
    place = {"firm_id": f"firm-{number}", "placement_id": f"pl-{number}"}

    def at(minutes: int) -> datetime:
        return began + timedelta(minutes=minutes)

    task = place | {"task_id": f"t-{name}"}
    entry = place | {"entry_id": f"en-{name}", "task_type": "document_prep"}
    return [
        event("task.requested", f"rq-{name}", at(0), source, task_type="document_prep",
              requested_by="at-1", **task),
        event("task.assigned", f"as-{name}", at(1), source, assistant_id=f"as-{number}", **task),
        event("task.started", f"st-{name}", at(5), source, **task),
        event("task.submitted", f"su-{name}", at(95), source, attempt=1, **task),
        event("time.recorded", f"tr-{name}", at(96), source, started_at=at(5).isoformat(),
              ended_at=at(95).isoformat(), kind="work", billable=True, **entry),
    ]  # fmt: skip


def _reviews(month: Month) -> list[dict[str, Any]]:
    return [
        event("review.completed", f"rv-{day}",
              datetime.fromisoformat(f"{month}-{day + 5:02}T18:00:00+00:00"), "desk/firm-1",
              firm_id="firm-1", placement_id="pl-1", task_id=f"t-1-{month}-{day}", attempt=1,
              outcome="accepted" if day % 3 else "changes_requested", reviewer_id="at-1",
              reviewer_role="attorney", review_mode="attorney")
        for day in range(1, 8)
    ]  # fmt: skip


def _run(world: World, month: Month) -> tuple[str, list[str]]:
    """Run a month to its end; return the run and its invoices."""
    run = world.done("billing", "POST", "/v1/runs", {"period": str(month)})
    until = time.monotonic() + SETTLE_SECONDS
    while run["state"] != "done":
        assert time.monotonic() < until, run
        time.sleep(0.05)
        run = world.done("billing", "GET", f"/v1/runs/{run['run_id']}")
    invoices = [firm["invoice_id"] for firm in run["firms"]]
    assert all(invoices), run
    return run["run_id"], invoices
