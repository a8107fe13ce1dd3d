"""One owner of a data folder at a time, and no doubt about who it is."""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, NamedTuple

import psutil

from services.settings import write_private

OWNER: Final = "owner.json"
LOCK: Final = "owner.lock"


class AlreadyOwned(Exception):
    """Another process runs this installation; the message says which and since when."""


class Owner(NamedTuple):
    """The process that runs an installation; `since` is an RFC 3339 instant."""

    pid: int
    since: str
    started: float  # the process's own start: its id may be another's later


def read_owner(home: Path) -> Owner | None:
    """Read who last ran an installation, alive or not."""
    try:
        return Owner(**json.loads((home / OWNER).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def find_owner(home: Path) -> Owner | None:
    """Return who runs an installation now; None when nobody does."""
    owner = read_owner(home)
    if owner is None:
        return None
    try:
        process = psutil.Process(owner.pid)
        same = abs(process.create_time() - owner.started) < 1
        alive = process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return owner if same and alive else None


@contextmanager
def owned(home: Path) -> Iterator[None]:
    """Be the one owner of a data folder for the length of a block. Raises `AlreadyOwned`.

    The lock is the kernel's: it ends with the process, however that ends.
    """
    home.mkdir(parents=True, exist_ok=True)
    with vacated(home, 0):
        me = psutil.Process()
        since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        write_private(home / OWNER, Owner(me.pid, since, me.create_time())._asdict())
        try:
            yield
        finally:
            (home / OWNER).unlink(missing_ok=True)


@contextmanager
def vacated(home: Path, seconds: float) -> Iterator[None]:
    """Keep every owner away from a data folder for the length of a block, without being one.

    Who holds it now is waited for so long. Raises `AlreadyOwned`.
    """
    deadline = time.monotonic() + seconds
    with (home / LOCK).open("w") as guard:
        while not _has_locked(guard):
            if time.monotonic() >= deadline:
                raise AlreadyOwned(_refusal(home))
            time.sleep(0.05)
        yield


def _has_locked(guard: IO[str]) -> bool:
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _refusal(home: Path) -> str:
    owner = read_owner(home)
    who = "another process" if owner is None else f"process {owner.pid} since {owner.since}"
    return f"{home} is run by {who}: `turnsheet status` shows it, `turnsheet down` stops it"
