"""Everybody at once: whoever decides, whoever sends hours, and runs that pin in between."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from services.billing.jobs import work
from services.postgres import connect
from tests.billing.conftest import Billing
from tests.log import DIRECTORY, amended, entry, event, insist_on_rebuild, of_firm, put, voided
from tests.races.replays import replayed, same

FIRMS = ("firm-1", "firm-2", "firm-3")
MONTHS = ("2026-07", "2026-08", "2026-09")
COUNTRIES = ("PH", "MX")
Act = Callable[["Racers"], Awaitable[None]]


class Racers:
    """People and trackers who do what they do at any time; every answer is one that is lawful."""

    def __init__(self, billing: Billing, seed: int) -> None:
        self.billing = billing
        self.rng = Random(seed)
        self.runs: list[Any] = []
        self.answers: Counter[int] = Counter()
        self._told = 0

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call as finance; a refusal is lawful, a failure is not."""
        headers = {"Authorization": f"Bearer {self.billing.finance}"}
        if method == "POST":
            headers["Idempotency-Key"] = secrets.token_hex(8)
        url = self.billing.server.make_url(path)
        async with self.billing.session.request(method, url, json=body, headers=headers) as answer:
            self.answers[answer.status] += 1
            # 404: the directory is being read again, and has not told of the firm yet.
            assert answer.status in {200, 202, 404, 409}, await answer.text()
            return await answer.json()

    def firm(self) -> str:
        return self.rng.choice(FIRMS)

    def next_id(self) -> str:
        self._told += 1
        return f"n{self._told}"

    async def set_rate(self) -> None:
        """Also of a single firm, and from dates that lie inside each other."""
        since = f"2026-0{self.rng.randint(6, 9)}-{self.rng.choice(('01', '11', '21'))}"
        rate = f"{self.rng.randint(5, 30)}.25"
        told = {"country": self.rng.choice(COUNTRIES), "role": "legal_assistant", "rate": rate}
        own = {"firm_id": self.firm()} if self.rng.random() < 0.4 else {}
        await self.call("PUT", "/v1/rate-cards", told | own | {"valid_from": since})

    async def set_terms(self) -> None:
        told = {"approval": self.rng.choice(("none", "required")),
                "increment_minutes": self.rng.choice((0, 6, 15)),
                "effective_month": self.rng.choice(MONTHS)}  # fmt: skip
        await self.call("PUT", f"/v1/firms/{self.firm()}/billing-terms", told)

    async def approve_hours(self) -> None:
        dates = {"from_date": "2026-07-01", "to_date": "2026-09-30"}
        await self.call("POST", f"/v1/firms/{self.firm()}/timesheets/approve", dates)

    async def send_hours(self) -> None:
        """New work, amendments and voids, some of them of work that a run has just billed."""
        firm_id, name = self.firm(), self.next_id()
        at = self.rng.randint(0, 90 * 24 * 60)
        told = [entry(name, self.rng.randint(1, 90), at=at)]
        old = f"n{self.rng.randint(1, self._told)}"
        if self.rng.random() < 0.4:
            told.append(amended(old, self.rng.randint(1, 90), self.rng.randint(1, 9)))
        if self.rng.random() < 0.2:
            told.append(voided(old, self.rng.randint(1, 9)))
        await put(self.billing.settings, [of_firm(body, firm_id) for body in told])

    async def change_directory(self) -> None:
        since = f"2026-0{self.rng.randint(6, 9)}-{self.rng.choice(('01', '16'))}"
        told = {"firm_id": "firm-1", "placement_id": "pl-1", "effective_date": since}
        body = event("placement.country_changed", self.next_id(),
                     told | {"country": self.rng.choice(COUNTRIES)})  # fmt: skip
        await put(self.billing.settings, [of_firm(body, self.firm())], "admin:a")

    async def begin_run(self) -> None:
        told = {"period": self.rng.choice(MONTHS), "dry_run": self.rng.random() < 0.4}
        self.runs.append(await self.call("POST", "/v1/runs", told))

    async def rebuild(self) -> None:
        """Empty what comes from the log while it is read, drafted from and added to."""
        await asyncio.sleep(self.rng.random())  # somewhere in the race, not at its start
        conn = await connect(self.billing.settings, "billing", "writer")
        await insist_on_rebuild(conn)
        await conn.close()

    async def issue(self) -> None:
        """Run a month, approve what is drafted and issue it, by run and by invoice at once."""
        told = {"period": MONTHS[self.rng.randint(0, 1)]}
        self.runs.append(await self.call("POST", "/v1/runs", told))
        await self.billing.ended(self.runs[-1]["run_id"])
        listed = (await self.call("GET", "/v1/invoices"))["invoices"]
        drafts = [item for item in listed if item["state"] in {"draft", "approved"}]
        for item in drafts:
            await self.call("POST", f"/v1/invoices/{item['invoice_id']}/approve")
        date = {"invoice_date": "2026-10-05"}
        await asyncio.gather(
            *(self.call("POST", f"/v1/runs/{run_id}/issue", date)
              for run_id in sorted({item["run_id"] for item in drafts})),
            *(self.call("POST", f"/v1/invoices/{item['invoice_id']}/issue", date)
              for item in drafts),
        )  # fmt: skip


OFTEN: tuple[tuple[Act, int], ...] = (
    (Racers.set_rate, 30),
    (Racers.set_terms, 12),
    (Racers.approve_hours, 15),
    (Racers.send_hours, 30),
    (Racers.change_directory, 12),
    (Racers.begin_run, 8),
    (Racers.issue, 4),
    (Racers.rebuild, 1),
)


async def race(billing: Billing, seed: int, times: int) -> Racers:
    """Let everybody act `times` over at once, then replay every run that was begun."""
    for firm_id in FIRMS[1:]:
        await put(billing.settings, [of_firm(body, firm_id) for body in DIRECTORY], "admin:a")
    racers, stop = Racers(billing, seed), asyncio.Event()
    workers = [asyncio.create_task(work(billing.settings, stop)) for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        for act, often in OFTEN:
            group.create_task(_repeat(act, racers, often * times))
    await billing.settle()
    for run in racers.runs:
        found = await billing.ended(run["run_id"])
        assert await replayed(billing, found) == same(*(f["firm_id"] for f in found["firms"])), (
            f"seed {seed}, {run['run_id']}"
        )
        outcomes = {firm["report"]["outcome"] for firm in found["firms"]}
        assert outcomes <= {"document", "nothing_due", "carried"}, f"seed {seed}: {outcomes}"
    stop.set()
    await asyncio.gather(*workers)
    done = racers.answers[200] + racers.answers[202]
    assert done > racers.answers.total() / 2, f"seed {seed}: {racers.answers}"
    return racers


async def _repeat(act: Act, racers: Racers, times: int) -> None:
    for _ in range(times):
        await act(racers)
