"""Schedules: what goes wrong when, as a function of a seed; played in a world and judged after.

python -m tests.faults.schedules 17 2004      plays two seeds and tells their stories
python -m tests.faults.schedules --count 300  plays many, and names those that went wrong
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final, Literal

from tests.faults.failpoints import Action, Deed, places

MANY_COPIES: Final = 20_000  # more than a poll folds: the entity is left to the queue
LONG_FREEZE_SECONDS: Final = 60.0
HITS: Final = (1, 2, 3, 5)
COPIES: Final = 500
# Hit once a month, or once a firm: a later hit would never come.
ONCE: Final = ("run.pinned", "run.begun", "run.listed", "settlement.saved")
# Come by with nothing to do, again and again: what counts is the first time after another.
AFTER: Final = {"refold.committed": "refold.folded"}
# Where a connection can break: in a transaction, or between its end and the word of it.
BREAKABLE: Final = ("poll.", "fold.", "refold.", "directory.", "run.", "issue.", "approval.")
# Where the log is needed next, and not the database.
LOGGING: Final = ("ingest", "producer", "reader")

Server = Literal["postgres", "kafka"]
Kind = Literal[
    "crash", "pause", "break", "servers", "mixed", "hot", "frozen", "behind", "undisturbed"
]


@dataclass(frozen=True)
class Step:
    """Something done from outside when a share of the events is acknowledged; 1: at the closing.

    whom  a service; `postgres` or `kafka`; or `house-server`, the link between two
    how   kill, stop; for servers restart, kill, freeze, and lose: frozen, then killed with all that
          was sent to it meanwhile; for links slow, silent, refusing, reset
    """

    moment: float
    whom: str
    how: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """What goes wrong; `lives` are the deeds of a service's processes, one after another.

    `behind` is done to a server while somebody stands still at a failpoint, who goes on as soon as
    it has begun: what that process does next, it does to a server that is not there.
    """

    seed: int
    kind: Kind
    lives: Mapping[str, tuple[tuple[Deed, ...], ...]] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    behind: Step | None = None
    down_seconds: float = 0.0
    pause_seconds: float = 0.0
    spare: str = ""
    copies: int = COPIES

    @property
    def failpoints(self) -> frozenset[str]:
        """Name the failpoints at which something is to happen."""
        return frozenset(
            deed.failpoint for lives in self.lives.values() for deeds in lives for deed in deeds
        )

    def describe(self) -> str:
        """Say in a line what will go wrong."""
        deeds = [
            f"{role} {deed.action}s at {deed.failpoint}, hit {deed.hit}"
            for role, lives in self.lives.items()
            for life in lives
            for deed in life
        ]
        steps = [
            f"{s.whom} {s.how} at {s.moment:.0%}" + (f" for {s.seconds:.1f} s" if s.seconds else "")
            for s in self.steps
        ]
        if (behind := self.behind) is not None:
            steps.append(f"{behind.whom} {behind.how} behind it for {behind.seconds:.1f} s")
        return f"{self.kind}: " + ("; ".join(deeds + steps) or "nothing")


UNDISTURBED: Final = Schedule(-1, "undisturbed")


def schedule(seed: int) -> Schedule:
    """Make the schedule of a seed; each thousand is of one kind.

    0 a crash at a failpoint; 1000 a pause or a broken connection there; 2000 servers and links;
    3000 all of these; 4000 a crash while one entity has 20,000 records; 5000 a broker that stands
    still for a minute; 6000 a server that goes away while somebody stands still.
    """
    rng = Random(seed)
    names = [name for name, _ in places()]
    match seed // 1000:
        case 0:
            return _crash(seed, names[seed % len(names)], seed // len(names), rng)
        case 1:
            return _interrupt(seed, names[seed % len(names)], rng)
        case 2:
            steps = tuple(_outside(rng) for _ in range(2))
            return Schedule(seed, "servers", steps=steps, pause_seconds=3.0)
        case 3:
            return _mix(seed, names, rng)
        case 4:
            name = rng.choice([name for name in names if name.startswith(("fold.", "refold."))])
            found = _crash(seed, name, seed, rng)
            return replace(found, kind="hot", copies=MANY_COPIES)
        case 6:
            return _behind(seed, names[seed % len(names)], rng)
        case _:
            freeze = Step(rng.choice((0.1, 0.5, 1.0)), "kafka", "freeze", LONG_FREEZE_SECONDS)
            other = Step(0.9, rng.choice(("metrics", "billing")), "kill")
            return Schedule(seed, "frozen", steps=(freeze, other))


def needs_pair(seed: int) -> bool:
    """Say whether a schedule breaks servers or links: then they have to be of its own."""
    return schedule(seed).kind in {"servers", "mixed", "frozen", "behind"}


def _roles(name: str, rng: Random) -> tuple[str, ...]:
    """Say who comes by a failpoint; what any run worker may do, both do."""
    area = name.partition(".")[0]
    if area in {"ingest", "producer"}:
        return ("ingest",)
    if name in {"run.pinned", "run.begun"} or area in {"issue", "approval", "settlement"}:
        return ("billing",)
    if area == "run":
        return ("billing", "worker")
    return (rng.choice(("metrics", "billing")),)


def _deed(name: str, hit: int, action: Action) -> Deed:
    return Deed(name, 1 if name in ONCE else hit, action, AFTER.get(name, ""))


def _crash(seed: int, name: str, turn: int, rng: Random) -> Schedule:
    """Kill at a failpoint; in some turns the next process at the same place too."""
    hit = HITS[turn % len(HITS)] if turn else 1
    if name.partition(".")[0] in {"issue", "approval", "run"}:
        hit = min(hit, 2)
    life = (_deed(name, hit, "kill"),)
    lives = (life, life) if turn % 2 else (life,)
    return Schedule(
        seed, "crash", dict.fromkeys(_roles(name, rng), lives), down_seconds=rng.choice((0, 0.5))
    )


def _interrupt(seed: int, name: str, rng: Random) -> Schedule:
    """Stand still at a failpoint while another takes over, or lose the connection there."""
    roles = _roles(name, rng)
    if rng.random() < 0.5 and name.startswith(BREAKABLE):
        lives = {role: ((_deed(name, rng.choice(HITS[:2]), "raise"),),) for role in roles}
        return Schedule(seed, "break", lives)
    spare = roles[0] if roles[0] in {"metrics", "billing"} else ""
    lives = {role: ((_deed(name, 1, "stop"),),) for role in roles}
    return Schedule(seed, "pause", lives, pause_seconds=rng.choice((1.5, 3.0, 4.0)), spare=spare)


def _behind(seed: int, name: str, rng: Random) -> Schedule:
    """Take a server away while somebody stands still between two things that it is needed for."""
    roles = _roles(name, rng)
    lives = {role: ((_deed(name, rng.choice(HITS), "stop"),),) for role in roles}
    if name.partition(".")[0] in LOGGING or rng.random() < 0.2:
        step = Step(0, "kafka", rng.choice(("kill", "lose")), rng.choice((3.0, 5.0)))
    else:
        step = Step(0, "postgres", "restart", rng.choice((0.0, 1.0)))
    return Schedule(seed, "behind", lives, behind=step, pause_seconds=1.5)


def _outside(rng: Random) -> Step:
    """Choose something that is done from outside."""
    moment = rng.choice((0.1, 0.3, 0.5, 0.7, 0.9, 1.0))
    house = rng.choice(("ingest", "metrics", "billing"))
    if rng.random() < 0.2:
        role = rng.choice(("ingest", "metrics", "billing", "worker"))
        return Step(moment, role, rng.choice(("kill", "stop")))
    match rng.randrange(4):
        case 0:
            return Step(moment, "postgres", "restart", rng.choice((0.0, 1.0)))
        case 1:
            how = rng.choice(("kill", "restart", "freeze"))
            return Step(moment, "kafka", how, rng.choice((0.5, 2.0, 4.0)))
        case _:
            link = rng.choice((f"{house}-kafka", f"{house}-postgres", "clients-ingest"))
            how = rng.choice(("slow", "silent", "refusing", "reset"))
            return Step(moment, link, how, 0.0 if how == "reset" else rng.choice((1.0, 3.0)))


def _mix(seed: int, names: Sequence[str], rng: Random) -> Schedule:
    """Let two processes die at failpoints and two things happen from outside."""
    lives: dict[str, tuple[tuple[Deed, ...], ...]] = {}
    for name in rng.sample(list(names), 2):
        for role in _roles(name, rng):
            lives[role] = ((_deed(name, rng.choice(HITS), "kill"),),)
    return Schedule(
        seed, "mixed", lives, tuple(_outside(rng) for _ in range(2)),
        down_seconds=rng.choice((0, 0.5, 2.0)), pause_seconds=3.0,
    )  # fmt: skip


def crashes() -> list[int]:
    """List the seeds that kill at every failpoint once."""
    return list(range(len(places())))


if __name__ == "__main__":
    from tests.faults.long_schedules import main

    main()
