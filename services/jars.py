"""Apache Kafka's jars: fetched once per user by Maven coordinate, checked against a lock."""

import fcntl
import hashlib
import os
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jgo.maven import MavenContext

LOCK = Path(__file__).parent.parent / "deploy" / "kafka" / "jars.lock.toml"


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


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ensure_jars(progress: Callable[[int, int], None] | None = None) -> Path:
    """Return the folder that holds every jar of the lock, fetching what is missing.

    `progress` is told (done, total) while something is fetched. Raises `JarsUnavailable`.
    """
    jars = read_lock()
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # two checkouts may start at once
        missing = [jar for jar in jars if not _intact(folder / jar.filename, jar)]
        for done, jar in enumerate(missing):
            if progress is not None:
                progress(done, len(missing))
            _fetch(jar, folder)
        if progress is not None and missing:
            progress(len(missing), len(missing))
    return folder


def _intact(path: Path, jar: Jar) -> bool:
    return path.exists() and _digest(path) == jar.sha256


def _fetch(jar: Jar, folder: Path) -> None:
    group, artifact, version = jar.coordinate.split(":")
    try:
        source = MavenContext().project(group, artifact).at_version(version).artifact().resolve()
    except Exception as error:
        raise JarsUnavailable(
            f"{jar.coordinate} could not be fetched ({error}). Apache Kafka's jars come once "
            "from the Maven registry: connect to it, or set KAFKA_BOOTSTRAP_SERVERS."
        ) from error
    partial = folder / f"{jar.filename}.partial"
    shutil.copyfile(source, partial)
    if (found := _digest(partial)) != jar.sha256:
        partial.unlink()
        raise JarsUnavailable(f"{jar.coordinate} has sha256 {found}, the lock says {jar.sha256}")
    partial.replace(folder / jar.filename)
