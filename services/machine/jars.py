"""Apache Kafka's jars: fetched once per user by Maven coordinate, checked against a lock.

`python -m services.machine.jars` resolves the lock's roots again and writes it anew.
"""

import fcntl
import hashlib
import math
import os
import shutil
import tempfile
import threading
import time
import tomllib
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Final, NamedTuple

LOCK: Final = Path(__file__).with_name("jars.lock.toml")
FETCHES_AT_ONCE: Final = 4
LOOK_SECONDS: Final = 0.1
PATIENCE_SECONDS: Final = 2
HEADER: Final = """\
# Apache Kafka and all that it needs to run as one KRaft node, by Maven coordinate. No binding of
# log4j: its parent would pull older clients onto the class path; slf4j-simple writes to stderr.
# Written by `python -m services.machine.jars` from the roots.
"""
OFFLINE: Final = (
    "Apache Kafka's jars come once from the Maven registry: connect to it, or set "
    "KAFKA_BOOTSTRAP_SERVERS to a Kafka of yours"
)

Progress = Callable[[int, int], None]


class JarsUnavailable(Exception):
    """A jar of Apache Kafka could not be fetched, or is not the one that the lock names."""


class Jar(NamedTuple):
    """One line of the lock."""

    coordinate: str  # group:artifact:version
    sha256: str

    @property
    def filename(self) -> str:
        """The file's name in the cache."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def read_lock(path: Path = LOCK) -> list[Jar]:
    """Read the lock: each jar's coordinate and sha256."""
    return [Jar(row["coordinate"], row["sha256"]) for row in tomllib.loads(path.read_text())["jar"]]


def cache_folder() -> Path:
    """Name the folder that all checkouts of this user share."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "turnsheet" / "jars"


def missing_jars() -> list[Jar]:
    """List the jars that are not in the cache, or not as the lock has them."""
    folder = cache_folder()
    return [jar for jar in read_lock() if not _intact(folder / jar.filename, jar)]


def ensure_jars(
    progress: Progress | None = None,
    checkpoint: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Return the path of every jar of the lock, fetching what is missing.

    `progress` is told (done, total) while something is fetched, `say` hears that another process is
    waited for; `checkpoint` is called often and may raise to give up. Raises `JarsUnavailable`.
    """
    folder = cache_folder()
    if missing_jars():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / ".lock").open("w") as guard:
                _take_turns(guard, checkpoint, say)
                for left in folder.glob(".fetch-*"):  # by one that was cut off
                    shutil.rmtree(left, ignore_errors=True)
                _fetch_all(
                    missing_jars(), folder, progress or (lambda _done, _total: None), checkpoint
                )
        except OSError as error:
            raise JarsUnavailable(
                f"Kafka's jars cannot be kept in {folder} ({error.strerror}): make it writable, "
                "or set XDG_CACHE_HOME to a folder that is"
            ) from error
    return [folder / jar.filename for jar in read_lock()]


def _take_turns(guard: IO[str], checkpoint: Callable[[], None], say: Callable[[str], None]) -> None:
    """Wait until no other process fetches: two checkouts may start at once."""
    told_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            checkpoint()
        if time.monotonic() >= told_at:
            say("waiting for another process, which fetches Kafka's jars")
            told_at = math.inf
        time.sleep(LOOK_SECONDS)


def _fetch_all(
    jars: list[Jar], folder: Path, progress: Progress, checkpoint: Callable[[], None]
) -> None:
    """Fetch jars, a few at a time; the first failure ends it.

    A fetch cannot be told to stop: when `checkpoint` raises, those at work are left to the end of
    the process.
    """
    waiting, ended = deque(jars), SimpleQueue[Exception | None]()

    def work() -> None:
        with suppress(IndexError):
            while True:
                ended.put(_outcome(waiting.popleft(), folder))

    workers = [threading.Thread(target=work, daemon=True) for _ in range(FETCHES_AT_ONCE)]
    for worker in workers:
        worker.start()
    done = 0
    if jars:
        progress(0, len(jars))
    try:
        while done < len(jars):
            checkpoint()
            with suppress(Empty):
                failure = ended.get(timeout=LOOK_SECONDS)
                if failure is not None:
                    waiting.clear()
                    for worker in workers:
                        worker.join()
                    raise failure
                done += 1
                progress(done, len(jars))
    finally:
        waiting.clear()


def _outcome(jar: Jar, folder: Path) -> Exception | None:
    try:
        _fetch(jar, folder)
    except Exception as failure:  # noqa: BLE001 (raised by whoever waits)
        return failure
    return None


def _fetch(jar: Jar, folder: Path) -> None:
    """Bring one jar into the cache, whole and checked, or not at all."""
    from jgo.maven import MavenContext  # noqa: PLC0415 (0.3 s that only a first start needs)

    group, artifact, version = jar.coordinate.split(":")
    # A repository of our own for each: what was cut off once must not be taken for whole later.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as repository:
        context = MavenContext(repo_cache=Path(repository), timeout=30)
        try:
            found = context.project(group, artifact).at_version(version).artifact().resolve()
        except Exception as error:
            raise JarsUnavailable(f"{jar.coordinate} could not be fetched: {OFFLINE}") from error
        digest = _digest(found)
        if digest != jar.sha256:
            raise JarsUnavailable(
                f"{jar.coordinate} came with sha256 {digest}, the lock says {jar.sha256}"
            )
        shutil.move(found, folder / jar.filename)


def _intact(path: Path, jar: Jar) -> bool:
    return path.exists() and _digest(path) == jar.sha256


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def resolve(roots: Iterable[str]) -> list[Jar]:
    """Resolve coordinates and all they need to run, and hash each jar; asks the Maven registry."""
    from jgo.maven import MavenContext  # noqa: PLC0415 (only for a new lock)
    from jgo.parse import Coordinate  # noqa: PLC0415 (likewise)

    with tempfile.TemporaryDirectory() as repository:
        context = MavenContext(repo_cache=Path(repository), timeout=30)
        wanted = [
            context.create_dependency(
                Coordinate(group, artifact, version, packaging="jar", scope="compile"),
                exclusions=[],
            )
            for group, artifact, version in (root.split(":") for root in roots)
        ]
        inputs, transitive = context.resolver.resolve(wanted)
        jars = [
            Jar(f"{d.groupId}:{d.artifactId}:{d.version}", _digest(d.artifact.resolve()))
            for d in (*inputs, *transitive)
            if d.scope in {"compile", "runtime"}
        ]
    return sorted(jars)


def write_lock(path: Path = LOCK) -> None:
    """Resolve the roots of a lock again and write it with what was found."""
    roots = tomllib.loads(path.read_text())["roots"]
    listed = "".join(f'    "{root}",\n' for root in roots)
    rows = "".join(
        f'\n[[jar]]\ncoordinate = "{jar.coordinate}"\nsha256 = "{jar.sha256}"\n'
        for jar in resolve(roots)
    )
    path.write_text(f"{HEADER}roots = [\n{listed}]\n{rows}", encoding="utf-8")


if __name__ == "__main__":
    write_lock()
