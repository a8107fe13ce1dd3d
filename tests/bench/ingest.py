"""Ingest's rows: events a CPU-second of our process, beside ceilings and peers of the same run."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from services.kafka import ensure_topics, log_ends
from tests.bench.ground import PEERS, Ground, Process, house, program
from tests.bench.load import Load, check_answers
from tests.bench.report import Figure, combined, compare, turned
from tests.bench.workload import JSON, LINES, SINGLE, Bodies, bodies, month, prepared

CONNECTIONS = 32
UNIT = "events/CPU-s"


@dataclass
class Contender:
    """A server and the requests that it gets; `rates` has a figure a round."""

    name: str
    process: Process
    requests: Path
    size: int
    count: int
    writes: bool = True
    sent: int = 0
    rates: list[float] = field(default_factory=list)

    def warm_up(self, load: Load) -> None:
        """Send some requests that are not measured."""
        self._send(load, max(self.count // 4, 1))

    def run(self, load: Load) -> None:
        """Send one round's requests and note the events a CPU-second."""
        before = self.process.cpu_seconds()
        self._send(load, self.count)
        self.rates.append(self.count * self.size / (self.process.cpu_seconds() - before))

    def _send(self, load: Load, count: int) -> None:
        answer = load.send(self.process.port, self.requests, count, CONNECTIONS)
        check_answers(answer, 202, self.name)
        self.sent += count * self.size


def measure(ground: Ground, row: str, load: Load, contenders: list[Contender]) -> None:
    """Warm all up, then let each do its work in every round, one after the other.

    After each round the log must have grown by what was confirmed.
    """
    before = log_size(ground)
    for one in contenders:
        one.warm_up(load)
    for number in range(ground.rounds):
        ground.say(f"{row}: round {number + 1} of {ground.rounds}")
        for one in turned(contenders, number):
            one.run(load)
        grown = log_size(ground) - before
        sent = sum(one.sent for one in contenders if one.writes)
        if grown != sent:
            raise RuntimeError(f"{sent} events were confirmed, and the log grew by {grown}")


def log_size(ground: Ground) -> int:
    """Count the records on the topics of events."""
    topics = [ground.topic("task-events"), ground.topic("time-events")]
    return sum(asyncio.run(log_ends(ground.settings, topics)).values())


def run(ground: Ground) -> Iterator[Figure]:
    """Measure JSON, NDJSON and single events."""
    work = month(4 if ground.quick else 12)
    asyncio.run(ensure_topics(ground.settings))
    common = ["--kafka", ground.settings.kafka_bootstrap_servers]
    peer = [*common, "--prefix", ground.settings.topic_prefix]
    with ExitStack() as stack:
        ours = stack.enter_context(house("ingest", ground.settings))
        ground.say("ingest: telling the directory")
        tokens = prepared(ground.settings, work)
        started = {
            what: stack.enter_context(
                program(
                    f"ceiling {what}",
                    ["-m", "tests.bench.ceilings", what, *common,
                     "--topic", ground.topic("task-events")],
                )
            )
            for what in ("empty", "validate", "commit")
        }  # fmt: skip
        if ground.peers.exists():
            for name in ("naive_aiohttp", "fastapi_gather"):
                started[name] = stack.enter_context(
                    program(name, [str(PEERS / f"{name}.py"), *peer], ground.peers)
                )
        else:
            ground.absent.append("ingest's peers: they have no environment")
        load = stack.enter_context(Load())
        yield from _hundreds(ground, load, ours, started, bodies(work, tokens, 100))
        yield from _singles(ground, load, ours, started, bodies(work, tokens, 1))


def _hundreds(
    ground: Ground, load: Load, ours: Process, started: dict[str, Process], given: Bodies
) -> Iterator[Figure]:
    folder = ground.folder
    count = 40 if ground.quick else 400
    lines = given.write(folder / "lines", LINES)
    array = given.write(folder / "array", JSON)
    bare_lines = given.write(folder / "bare-lines", LINES, for_peer=True)
    bare_array = given.write(folder / "bare-array", JSON, for_peer=True)
    thousand = Bodies(1000, _grouped(given), given.tokens).write(folder / "thousand", LINES)

    def contender(name: str, process: Process, requests: Path, share: float = 1) -> Contender:
        return Contender(name, process, requests, 100, max(int(count * share), 8))

    mine = [
        contender("JSON", ours, array),
        contender("NDJSON", ours, lines),
        Contender("NDJSON 1000", ours, thousand, 1000, max(count // 10, 4)),
    ]
    validate = contender("validate", started["validate"], bare_array)
    validate.writes = False
    commit = contender("commit", started["commit"], bare_lines)
    peers = {
        name: contender(name, started[name], bare_array, 0.4)
        for name in ("naive_aiohttp", "fastapi_gather")
        if name in started
    }
    measure(ground, "ingest ×100", load, [*mine, validate, commit, *peers.values()])
    ceiling = combined(validate.rates, commit.rates)
    for one, of_h, of_naive, of_fastapi in (
        (mine[0], 0.60, 1.8, 2.5),
        (mine[1], 0.85, 2.5, 4.0),
        (mine[2], None, None, None),
    ):
        what = f"{one.name} ×{one.size}" if one.size == 100 else "NDJSON ×1000"
        yield compare("ingest", what, UNIT, one.rates, "H: validate, commit", ceiling, of_h)
        for name, goal in (("naive_aiohttp", of_naive), ("fastapi_gather", of_fastapi)):
            if name in peers and goal:
                yield compare("ingest", what, UNIT, one.rates, name, peers[name].rates, goal)
    yield Figure("ingest", "part: validate only", UNIT, _median(validate.rates))
    yield Figure("ingest", "part: commit only", UNIT, _median(commit.rates))


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _grouped(given: Bodies) -> list[tuple[str, list[bytes]]]:
    """Join each sender's bodies to bodies of a thousand events, repeating what it has."""
    by_sender: dict[str, list[bytes]] = {}
    for principal, events in given.parts:
        by_sender.setdefault(principal, []).extend(events)
    return [
        (principal, (events * (1000 // len(events) + 1))[:1000])
        for principal, events in by_sender.items()
    ]


def _singles(
    ground: Ground, load: Load, ours: Process, started: dict[str, Process], given: Bodies
) -> Iterator[Figure]:
    count = 500 if ground.quick else 3000
    own = given.write(ground.folder / "single", SINGLE)
    bare = given.write(ground.folder / "bare-single", SINGLE, for_peer=True)
    mine = Contender("single", ours, own, 1, count)
    empty = Contender("empty", started["empty"], bare, 1, count, writes=False)
    measure(ground, "ingest ×1", load, [mine, empty])
    yield compare("ingest", "one event a POST", UNIT, mine.rates, "empty POST", empty.rates, 0.50)
