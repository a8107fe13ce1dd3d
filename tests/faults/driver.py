"""The driver: plays schedules in worlds, several at a time, and compares each with a quiet one."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.faults.clients import PATIENCE_SECONDS, Client, Ledger, close_month, send
from tests.faults.oracle import Verdict, judge
from tests.faults.pair import Pair, pair
from tests.faults.processes import ForkServer, fork_server
from tests.faults.schedules import UNDISTURBED, Schedule, Step, needs_pair, schedule
from tests.faults.workload import Workload, workload
from tests.faults.world import DEADLINE_SECONDS, Installation, Servers, found, installation
from tests.faults.world import ROLES_OF_WORLD as ROLES
from tests.servers import TEMPLATE, VARIABLE, addresses

PLAY_SECONDS = 400.0
HEAL_SECONDS = 120.0

Echo = Callable[[str], None]


@dataclass
class Outcome:
    """How a schedule went: its story, what was wrong, and which failpoints were come by."""

    schedule: Schedule
    verdict: Verdict = field(default_factory=Verdict)
    story: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    happened: set[str] = field(default_factory=set)
    seconds: float = 0.0
    words: Path | None = None  # where the logs of one that went wrong are kept

    @property
    def went_well(self) -> bool:
        """Say whether nothing was wrong."""
        return not self.verdict.wrong

    @property
    def missed(self) -> list[str]:
        """Name the failpoints at which something was to happen, and nobody came by."""
        return sorted(name for name in self.schedule.failpoints if not self.counts.get(name))

    def report(self) -> str:
        """Say what was wrong, the story before it, and how to play it again."""
        return "\n".join(
            [
                f"seed {self.schedule.seed}, {self.schedule.describe()}",
                *(f"  {line}" for line in self.story),
                *(f"  WRONG: {line}" for line in self.verdict.wrong),
                *([f"what its services said: {self.words}"] if self.words else []),
                f"again: .venv/bin/python -m tests.faults.schedules {self.schedule.seed}",
            ]
        )


class Stage:
    """Where schedules are played: the fork server, sturdy servers, and a pair to be broken."""

    def __init__(self, folder: Path, fork: ForkServer, pair: Pair | None, at_once: int) -> None:
        self._folder = folder
        self._fork = fork
        self._pair = pair
        self._room = asyncio.Semaphore(at_once)
        self._pair_room = asyncio.Semaphore(1)
        self._quiet: asyncio.Task[Verdict] | None = None

    async def play(self, plan: Schedule, echo: Echo | None = None) -> Outcome:
        """Play a schedule and judge it, against a quiet run too."""
        self._quiet = self._quiet or asyncio.create_task(self._play_quietly())
        quiet = await asyncio.shield(self._quiet)
        outcome = await self._play_in_turn(plan, echo)
        outcome.verdict.wrong += quiet.wrong
        if not outcome.verdict.wrong:
            outcome.verdict.wrong += outcome.verdict.differences(quiet)
        return outcome

    async def _play_quietly(self) -> Verdict:
        """Play the workload undisturbed, once for all stages of a run of tests."""
        note = Path(os.environ[VARIABLE]) / "undisturbed.json"
        if note.exists():
            return Verdict(**json.loads(note.read_text()))
        verdict = (await self._play_in_turn(UNDISTURBED, None)).verdict
        partial = note.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(asdict(verdict)))
        partial.replace(note)
        return verdict

    async def _play_in_turn(self, plan: Schedule, echo: Echo | None) -> Outcome:
        paired = plan is not UNDISTURBED and needs_pair(plan.seed)
        async with self._pair_room if paired else self._room:
            pair = self._pair if paired else None
            servers = pair.servers if pair else sturdy_servers()
            assert paired == (pair is not None), "this seed breaks servers: it needs a pair"
            outcome = Outcome(plan)
            play = Play(plan, outcome, pair, echo)
            folder = self._folder / f"seed-{plan.seed}-{time.monotonic_ns()}"
            try:
                async with asyncio.timeout(PLAY_SECONDS):
                    await play.run(servers, folder, self._fork)
            except Exception as error:  # noqa: BLE001 (whatever it is, it is told with its seed)
                outcome.verdict.wrong.append(_words(error))
            outcome.seconds = play.seconds()
            if outcome.verdict.wrong:
                outcome.words = _keep(folder)
            return outcome


def _words(error: BaseException) -> str:
    """Tell an exception, and what is inside a group."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_words, error.exceptions))
    return f"{type(error).__name__}: {error}"


def _keep(folder: Path) -> Path:
    """Copy what services said to where the end of the run does not remove it."""
    kept = Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
    for words in folder.rglob("*.log"):
        shutil.copy(words, kept)
    return kept


def sturdy_servers() -> Servers:
    """Say where the servers of the run are, which nobody breaks."""
    found = addresses()
    return Servers(found["postgres"], found["kafka"], TEMPLATE)


@asynccontextmanager
async def stage(*, paired: bool, at_once: int) -> AsyncIterator[Stage]:
    """Set up a stage for the length of a block."""
    folder = Path(tempfile.mkdtemp(prefix="stage-", dir=os.environ[VARIABLE]))
    folder.chmod(0o711)  # noqa: ASYNC240 (likewise)
    async with AsyncExitStack() as stack:
        fork = await stack.enter_async_context(fork_server())
        both = await stack.enter_async_context(pair(folder / "pair")) if paired else None
        yield Stage(folder, fork, both, at_once)


class Play:
    """One schedule on its way through one world."""

    def __init__(
        self, plan: Schedule, outcome: Outcome, pair: Pair | None, echo: Echo | None
    ) -> None:
        self._plan = plan
        self._outcome = outcome
        self._pair = pair
        self._echo = echo
        self._began = time.monotonic()
        self._ledger = Ledger()
        self._closing = asyncio.Event()
        self._under_way: set[asyncio.Task[None] | None] = set()
        self._behind: asyncio.Task[None] | None = None
        self._judging = False  # then no server is taken away any more: the oracle asks it

    def seconds(self) -> float:
        """Say how long it has taken so far."""
        return time.monotonic() - self._began

    def tell(self, words: str) -> None:
        """Add a line to the story."""
        line = f"{self.seconds():6.2f} s  {words}"
        self._outcome.story.append(line)
        if self._echo is not None:
            self._echo(f"seed {self._plan.seed:4} {line}")

    async def run(self, servers: Servers, folder: Path, fork: ForkServer) -> None:
        """Play it through: work, trouble, closing, healing, judgement."""
        work = workload(self._plan.copies)
        async with installation(servers, folder, fork, self.tell) as world:
            tokens = await found(world.settings, work.world)
            await self._begin(world)
            trouble = [asyncio.create_task(self._do(world, step, work)) for step in self._steps()]
            watching = [asyncio.create_task(self._thaw(world, role)) for role in world.lives]
            try:
                await self._work(world, tokens, work)
                async with asyncio.timeout(HEAL_SECONDS):
                    await asyncio.gather(*trouble)
                await world.settle()
                self.tell("healed and caught up")
                self._judging = True
                self._outcome.verdict = await judge(world, work, self._ledger)
                codes = await world.finish()
            finally:
                await self._end(trouble, watching)
            self._note(world, codes)

    async def _end(
        self, trouble: Sequence["asyncio.Task[None]"], watching: Sequence["asyncio.Task[None]"]
    ) -> None:
        """Let trouble that has begun go by, and leave servers and links as they were."""
        for task in (*watching, *(task for task in trouble if task not in self._under_way)):
            task.cancel()
        behind = [self._behind] if self._behind else []
        ended = await asyncio.gather(*trouble, *watching, *behind, return_exceptions=True)
        failed = {_words(error) for error in ended if isinstance(error, Exception)}
        self._outcome.verdict.wrong.extend(sorted(failed))
        if self._pair is not None:
            await self._pair.heal()

    async def _begin(self, world: Installation) -> None:
        for role in ROLES:
            await world.live(role, self._plan.lives.get(role, ()), self._plan.down_seconds)
        if self._plan.spare:
            await world.live(f"{self._plan.spare}-2")

    def _steps(self) -> Sequence[Step]:
        return sorted(self._plan.steps, key=lambda step: step.moment)

    async def _work(self, world: Installation, tokens: dict[str, str], work: Workload) -> None:
        timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            client = Client(session, self._ledger, DEADLINE_SECONDS, world.was_disturbed)
            # Whoever is to die of a refold needs one: what is told late, after all else is folded.
            refolds = any(name.startswith("refold.") for name in self._plan.failpoints)
            door = self._door(world)
            await send(client, door, tokens, work, world.settle if refolds else None)
            self.tell(f"{self._ledger.acknowledged_count} events acknowledged")
            self._closing.set()
            await close_month(client, world.url("billing"), tokens["finance:desk"])
            self.tell(
                f"month closed; {self._ledger.refused} refusals, {self._ledger.broken} broken calls"
            )

    def _door(self, world: Installation) -> str:
        """Say where trackers find ingest: behind a proxy where there is one."""
        if self._pair is None:
            return world.url("ingest")
        link = self._pair.proxies["clients", "ingest"]
        link.to_port = world.lives["ingest"].settings.ingest_port
        return f"http://127.0.0.1:{link.port}"

    async def _thaw(self, world: Installation, role: str) -> None:
        """Wake whoever stands still, after the schedule's pause."""
        while True:
            life = world.lives[role]
            process = life.process
            assert process is not None
            standing: asyncio.Future[Any] = asyncio.ensure_future(process.stopped.wait())
            ended: asyncio.Future[Any] = process.ended
            try:
                await asyncio.wait([standing, ended], return_when=asyncio.FIRST_COMPLETED)
            finally:
                standing.cancel()
            if process.ended.done():
                await life.next_process(process)
                continue
            self.tell(f"{role} stands still")
            self._outcome.happened.add("stop")
            behind = self._plan.behind
            async with world.disturbance(role), world.disturbance(behind.whom if behind else role):
                if behind is None or self._behind is not None or self._judging:
                    await asyncio.sleep(self._plan.pause_seconds)
                    world.send(role, signal.SIGCONT)
                else:
                    await self._go_behind(world, role, behind)
            self.tell(f"{role} goes on")

    async def _go_behind(self, world: Installation, role: str, step: Step) -> None:
        """Take a server away, wake whoever stands still, and bring it back after a while."""
        assert self._pair is not None
        self.tell(f"{step.whom}: {step.how} for {step.seconds} s, behind {role}")
        self._outcome.happened.add("behind")
        begun = asyncio.Event()
        work = self._pair.restart(step.whom, step.how, step.seconds, begun)
        self._behind = asyncio.create_task(work)
        waiting = asyncio.ensure_future(begun.wait())
        await asyncio.wait({self._behind, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        world.send(role, signal.SIGCONT)
        await asyncio.shield(self._behind)
        self.tell(f"{step.whom}: well again")

    async def _do(self, world: Installation, step: Step, work: Workload) -> None:
        """Do one thing from outside at its moment."""
        if step.moment < 1:
            await self._ledger.until(int(step.moment * work.event_count))
        else:
            await self._closing.wait()
        self._under_way.add(asyncio.current_task())
        self.tell(f"{step.whom}: {step.how} {step.seconds or ''}".rstrip())
        async with world.disturbance(step.whom):
            await self._break(world, step)
        self.tell(f"{step.whom}: well again")

    async def _break(self, world: Installation, step: Step) -> None:
        if step.whom in world.lives:
            world.send(step.whom, signal.SIGKILL if step.how == "kill" else signal.SIGSTOP)
            return
        assert self._pair is not None
        if step.how == "freeze":
            await self._pair.freeze(step.seconds)
        elif step.whom in {"postgres", "kafka"}:
            await self._pair.restart(step.whom, step.how, step.seconds)
        else:
            house, _, server = step.whom.partition("-")
            link = self._pair.proxies[house, server]
            if step.how == "reset":
                link.reset()
                return
            link.weather = step.how  # type: ignore[assignment]  # one of the weathers
            await asyncio.sleep(step.seconds)
            link.weather = "fair"

    def _note(self, world: Installation, codes: dict[str, int]) -> None:
        """Note how the processes have ended, and what was come by."""
        wrong = self._outcome.verdict.wrong
        wrong += [f"{role} left with {code}" for role, code in codes.items() if code != 0]
        for role, life in world.lives.items():
            wrong += [f"{role} ended by itself with {code}" for code in life.codes if code != -9]
            if -9 in life.codes:
                self._outcome.happened.add("kill")
        self._outcome.counts = world.counts()


async def play_all(
    seeds: Sequence[int], *, at_once: int, echo: Echo | None = None,
    done: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:  # fmt: skip
    """Play schedules, those on sturdy servers side by side; `done` hears of each at its end."""
    async with stage(paired=any(map(needs_pair, seeds)), at_once=at_once) as here:

        async def play(seed: int) -> Outcome:
            outcome = await here.play(schedule(seed), echo)
            done(outcome)
            return outcome

        return list(await asyncio.gather(*map(play, seeds)))
