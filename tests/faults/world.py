"""A world: one installation with a database and topics of its own, its services real processes."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import asyncpg

from schemas.periods import Month
from services.billing import store
from services.billing.books import Rate, Terms
from services.billing.consumer import READING as BILLING
from services.demo.delivery import make_tokens
from services.demo.world import DESKS, ROLES, World
from services.folding import Reading, caught_up
from services.kafka import ensure_topics
from services.metrics.consumer import READING as METRICS
from services.postgres import Connection, House, Role, connect
from services.settings import Settings
from services.web.auth import Kind
from tests.faults.failpoints import Counts, Deed
from tests.faults.processes import ForkServer, Process
from tests.log import ends_once_told
from tests.servers import fresh_database, own_port, settings_of
from tests.tokens import make_token

READINGS = (METRICS, BILLING)
OFFICE: Mapping[Kind, str] = {"admin": "admin:agency", "finance": "finance:desk"}
ROLES_OF_WORLD = ("ingest", "metrics", "billing", "worker")
STOP_SECONDS = 10.0
LOOK_SECONDS = 0.05
SETTLE_SECONDS = 200.0  # an entity with very many records waits a minute for its fold
DEADLINE_SECONDS = 2.0

Tell = Callable[[str], None]


async def driver_connection(settings: Settings, house: House, role: Role = "writer") -> Connection:
    """Connect as a role of a house, and be patient: the driver has many worlds to look after."""
    conn = await connect(settings, house, role)
    await conn.execute("set idle_in_transaction_session_timeout = 0")
    return conn


@dataclass(frozen=True)
class Servers:
    """Where Postgres and Kafka are: for the driver, and for each service when they differ."""

    database_url: str
    kafka: str
    template: str
    kafka_of: Mapping[str, str] = field(default_factory=dict)
    postgres_of: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Life:
    """One service over all its processes: what each does to itself, and how each has ended."""

    role: str
    settings: Settings
    deeds: list[tuple[Deed, ...]]
    down_seconds: float = 0.0
    process: Process | None = None
    codes: list[int] = field(default_factory=list)
    born: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def next_process(self, former: Process) -> None:
        """Wait until another process has taken the place of one."""
        async with self.born:
            await self.born.wait_for(lambda: self.process is not former)


def _is_in_the_way(whom: str) -> bool:
    """Say whether an answer may come late for it: the process that answers, or what it looks up.

    Not the log: whoever waits for that is refused in time, and so is who asks a house of which only
    the consumer stands still.
    """
    near, _, far = whom.partition("-")
    return near in {"clients", "postgres"} or (near in {"ingest", "billing"} and far != "kafka")


class Installation:
    """A running world; a service whose process ends is started again, until the world ends."""

    def __init__(
        self, settings: Settings, servers: Servers, folder: Path, fork: ForkServer, tell: Tell
    ) -> None:
        self.settings = settings
        self.tell = tell
        self.lives: dict[str, Life] = {}
        self._servers = servers
        self._folder = folder
        self._fork = fork
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._ending = False
        self._quiet_since = asyncio.get_running_loop().time()
        self._disturbances = 0

    # Processes

    async def live(
        self, role: str, deeds: Sequence[tuple[Deed, ...]] = (), down_seconds: float = 0.0
    ) -> None:
        """Start a service and keep it alive."""
        life = Life(role, self._settings_of(role), list(deeds), down_seconds)
        self.lives[role] = life
        await self._start(life)
        self._keeping[role] = asyncio.create_task(self._keep(life))

    async def _start(self, life: Life) -> None:
        deeds = life.deeds.pop(0) if life.deeds else ()
        process = await self._fork.start(life.role, life.settings, self._folder, deeds)
        async with life.born:
            life.process = process
            life.born.notify_all()

    async def _keep(self, life: Life) -> None:
        while life.process is not None:
            code = await asyncio.shield(life.process.ended)
            if life.process.asked:
                return
            life.codes.append(code)
            self.disturbed(life.role)
            self.tell(f"{life.role} ended with {code}")
            await asyncio.sleep(life.down_seconds)
            if not self._ending:
                await self._start(life)
                self.tell(f"{life.role} starts again")
            if self._ending:  # without it, and nobody would ask it to stop
                self.send(life.role, signal.SIGKILL)
                return

    def send(self, role: str, number: signal.Signals) -> None:
        """Send a signal to a service's process."""
        self.disturbed(role)
        if (process := self.lives[role].process) is not None:
            process.send(number)

    async def finish(self) -> dict[str, int]:
        """Ask all to stop, and return how each ended. Raises TimeoutError after ten seconds.

        Who is down at this moment does not come back.
        """
        self._ending = True
        processes = {role: life.process for role, life in self.lives.items() if life.process}
        living = {role: process for role, process in processes.items() if not process.ended.done()}
        codes = await asyncio.gather(*(p.finish(STOP_SECONDS) for p in living.values()))
        await asyncio.gather(*self._keeping.values())
        return dict(zip(living, codes, strict=True))

    def abandon(self) -> None:
        """Kill all that is left."""
        self._ending = True
        for role, task in self._keeping.items():
            task.cancel()
            self.send(role, signal.SIGKILL)

    def counts(self) -> dict[str, int]:
        """Sum up how often failpoints were come by, over all processes."""
        found: dict[str, int] = {}
        for path in self._folder.glob("*.counts"):
            for name, count in Counts(path).read().items():
                found[name] = found.get(name, 0) + count
        return found

    # Disturbances, for which a client may wait longer than promised

    def disturbed(self, whom: str) -> None:
        """Note that something happens now for which answers may come late, if it does."""
        if _is_in_the_way(whom):
            self._quiet_since = asyncio.get_running_loop().time()

    @asynccontextmanager
    async def disturbance(self, whom: str) -> AsyncIterator[None]:
        """Note that something stands in the way for the length of a block, if it does."""
        self._disturbances += _is_in_the_way(whom)
        try:
            yield
        finally:
            self._disturbances -= _is_in_the_way(whom)
            self.disturbed(whom)

    def was_disturbed(self, since: float) -> bool:
        """Say whether anything stood in the way since an instant."""
        return self._disturbances > 0 or since <= self._quiet_since

    # Looking

    async def settle(self) -> None:
        """Wait until both houses have applied everything that is on the log."""
        async with asyncio.timeout(SETTLE_SECONDS):
            await asyncio.gather(*(self._settle(reading) for reading in READINGS))

    async def _settle(self, reading: Reading) -> None:
        topics = [self.settings.topic(name) for name in reading.topics]
        ends = await ends_once_told(self.settings, topics)
        while True:
            try:
                return await self._await_caught_up(reading.house, ends)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(LOOK_SECONDS)  # the database is away: ask again

    async def _await_caught_up(self, house: House, ends: Mapping[tuple[str, int], int]) -> None:
        conn = await driver_connection(self.settings, house)
        try:
            while not await caught_up(conn, ends):  # noqa: ASYNC110 (other processes' tables)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await conn.close(timeout=2)

    def _settings_of(self, role: str) -> Settings:
        house = {"worker": "billing"}.get(role, role.partition("-")[0])
        more: dict[str, object] = {
            f"{h}{o}_port": own_port() for h in [house] for o in ("", "_ops")
        }
        if house in self._servers.kafka_of:
            more["kafka_bootstrap_servers"] = self._servers.kafka_of[house]
        if house in self._servers.postgres_of:
            place, _, name = self.settings.database_url.rpartition("/")
            port = self._servers.postgres_of[house]
            more["database_url"] = f"{place.rpartition(':')[0]}:{port}/{name}"
        return self.settings.model_copy(update=more)

    def url(self, role: str) -> str:
        """Say where a service is called."""
        return self.lives[role].settings.url(role)


def make_settings(servers: Servers, database_url: str, folder: Path) -> Settings:
    """Describe an installation of its own on some servers."""
    return settings_of(database_url, servers.kafka, folder / "home").model_copy(
        update={
            "topic_partitions": 2,
            "produce_deadline_seconds": DEADLINE_SECONDS,
            "consumer_session_seconds": 1.0,
            "log_format": "json",
        }
    )


@asynccontextmanager
async def installation(
    servers: Servers, folder: Path, fork: ForkServer, tell: Tell
) -> AsyncIterator[Installation]:
    """Make a world without services, and take it away again."""
    folder.mkdir(parents=True)  # noqa: ASYNC240 (one folder, before anything runs)
    async with _in_threads(fresh_database(servers.database_url, servers.template)) as url:
        settings = make_settings(servers, url, folder)
        world = Installation(settings, servers, folder, fork, tell)
        try:
            await ensure_topics(settings)
            yield world
        finally:
            world.abandon()


@asynccontextmanager
async def _in_threads(waiting: AbstractContextManager[str]) -> AsyncIterator[str]:
    """Enter and leave what waits for a server; the loop has other worlds to look after."""
    entered = await asyncio.to_thread(waiting.__enter__)
    try:
        yield entered
    finally:
        await asyncio.to_thread(waiting.__exit__, None, None, None)


async def found(settings: Settings, world: World) -> dict[str, str]:
    """Set what an agency has set before its first day: tokens, the rate card, terms."""
    tokens = await make_tokens(settings, world)
    for kind, name in OFFICE.items():
        tokens[name] = await make_token(
            settings, kind, principal_id=name, firms=["*"], placements=["*"], sources=["*"]
        )
    office = await driver_connection(settings, "billing", "office")
    async with office.transaction():
        for number, (country, role) in enumerate(
            sorted({(desk.country, role) for desk in DESKS for role in ROLES})
        ):
            rate = Rate(f"rt-{number}", "USD", 90_000 + 1_250 * number, date(2026, 1, 1), None,
                        country=country, role=role)  # fmt: skip
            await store.set_rate(office, rate, actor="finance:desk", new_id=str)
        for firm in world.firms:
            terms = Terms("", 1, Month.parse("2026-01"), approval="none")
            await store.append_terms(office, firm.firm_id, terms, actor="finance:desk")
    await office.close()
    return tokens
