"""The real servers of a test run: one Postgres and one Kafka, started by the first test in need."""

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql
from pydantic import SecretStr

from services.machine.embedded_kafka import EmbeddedKafka, new_kafka
from services.machine.embedded_postgres import EmbeddedPostgres, new_postgres
from services.machine.installation import PORTS
from services.machine.ports import is_free
from services.migrations import migrate
from services.settings import Settings

TEMPLATE = "template_migrated"
VARIABLE = "TESTS_OF_TURNSHEET_SERVERS"  # how the workers hear which folder is the run's
ROLE_PASSWORD = "role-password-of-the-tests"
PREFIX = "turnsheet-tests-"
OWN_PORTS: Sequence[int] = range(12_000, 20_000)  # below those that `turnsheet up` chooses from
_TURN = Path(tempfile.gettempdir()) / f"{PREFIX}{os.getuid()}.port"  # whose turn was last
WARDEN_SECONDS = 60
SESSION_MILLISECONDS = 1000
_WARDENS: dict[Path, "subprocess.Popen[bytes]"] = {}


def prepare() -> Path:
    """Make the run's folder, in the one process that is no worker; starts nothing yet."""
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    folder.chmod(0o711)  # Postgres may run as another user
    me = psutil.Process()
    (folder / "owner.json").write_text(json.dumps([me.pid, me.create_time()]))
    _set_warden(folder)
    os.environ[VARIABLE] = str(folder)
    return folder


def _set_warden(folder: Path) -> None:
    """Have what the run starts ended when this process is, whoever kills it."""
    _WARDENS[folder] = subprocess.Popen(
        [sys.executable, "-m", "tests.warden", str(folder)],
        cwd=Path(__file__).parent.parent, stdin=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def addresses() -> dict[str, str]:
    """Return where the servers of this run are: `postgres` (as owner) and `kafka`.

    Whichever process asks first starts them; the others wait for it.
    """
    folder = Path(os.environ[VARIABLE])
    answer = folder / "addresses.json"
    if not answer.exists():
        with (folder / "lock").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            if not answer.exists():
                _write(answer, _start(folder))
    found: dict[str, str] = json.loads(answer.read_text())
    return found


@contextmanager
def fresh_database(owner: str = "", template: str = TEMPLATE) -> Iterator[str]:
    """Make a database for the length of a block; give its address, as its owner.

    owner     the address of a server, as its owner: by default the run's Postgres
    template  what the new database is a copy of: by default the migrated one
    """
    owner = owner or addresses()["postgres"]
    name = sql.Identifier(made := f"test_{secrets.token_hex(6)}")
    create = sql.SQL("create database {} template {}").format(name, sql.Identifier(template))
    with psycopg.connect(owner, autocommit=True) as conn:
        conn.execute(create)
    try:
        yield owner.rpartition("/")[0] + f"/{made}"
    finally:
        with psycopg.connect(owner, autocommit=True) as conn:
            conn.execute(sql.SQL("drop database {} with (force)").format(name))


def settings_of(database_url: str, kafka: str, home: Path) -> Settings:
    """Settings of an installation of a test's own: its database, topic prefix and ports."""
    return Settings(
        database_url=database_url,
        kafka_bootstrap_servers=kafka,
        home=home,
        database_role_password=ROLE_PASSWORD,
        token_pepper="pepper-of-the-tests",
        topic_prefix=f"t{secrets.token_hex(4)}.",
        topic_partitions=1,
        topic_index_bytes=65_536,
        ingest_port=0,
        metrics_port=0,
        billing_port=0,
        ingest_ops_port=0,
        metrics_ops_port=0,
        billing_ops_port=0,
        log_format="console",
    )


def own_port() -> int:
    """Return a free port, each in turn: no other process of any run of ours is given it soon.

    Who is killed, or begins to listen later, finds it free. `turnsheet up` chooses from others.
    """
    with _TURN.open("a+") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        turn.seek(0)
        last, count = int(turn.read() or -1), len(OWN_PORTS)
        turns = range(last + 1, last + 1 + count)
        this = next(n for n in turns if is_free("127.0.0.1", OWN_PORTS[n % count]))
        turn.truncate(0)
        turn.write(str(this))
    return OWN_PORTS[this % count]


def kafka_in(folder: Path) -> EmbeddedKafka:
    """Describe a Kafka on ports of its own; one that was killed may be back after a second."""
    return new_kafka(folder, own_port(), own_port(), SESSION_MILLISECONDS)


def postgres_in(folder: Path) -> EmbeddedPostgres:
    """Describe a Postgres on a port of its own."""
    return new_postgres(folder, own_port())


def with_ports(settings: Settings) -> Settings:
    """Give each house two ports of its own, for its API and its health."""
    return settings.model_copy(update={name: own_port() for name in PORTS})


def plain(settings: Settings) -> dict[str, Any]:
    """Write every setting, secrets too, as JSON can hold it; `Settings(**written)` is the same.

    A process that is told all hears nothing of the environment of whoever runs this.
    """
    return {name: _written(value) for name, value in settings}


def _written(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, Path) else value


def stop(folder: Path) -> None:
    """Stop the servers of a run, whoever started them, and remove its folder.

    The run itself has its warden end whatever else is left.
    """
    EmbeddedKafka(folder / "kafka", 0, 0).stop()
    if (folder / "postgres").exists():
        EmbeddedPostgres(folder / "postgres", 0, "").stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)
    if warden := _WARDENS.pop(folder, None):
        warden.communicate(timeout=WARDEN_SECONDS)


def _sweep() -> None:
    """End what runs that were killed have left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            pid, started = json.loads((folder / "owner.json").read_text())
            alive = abs(psutil.Process(pid).create_time() - started) < 1
        except psutil.NoSuchProcess:
            alive = False
        except (OSError, ValueError):  # somebody else's, or just being made
            continue
        if not alive:
            stop(folder)


def _start(folder: Path) -> dict[str, str]:
    postgres, kafka = postgres_in(folder / "postgres"), kafka_in(folder / "kafka")
    with ThreadPoolExecutor() as pool, _bare_environment():
        for started in [pool.submit(start_postgres, postgres), pool.submit(kafka.start)]:
            started.result()
    return {"postgres": postgres.url, "kafka": kafka.bootstrap_servers}


@contextmanager
def _bare_environment():
    """Keep the settings of whoever runs the tests out of the template."""
    ours = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith("TURNSHEET_") or name in {"DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"}
    }
    try:
        yield
    finally:
        os.environ.update(ours)


def start_postgres(postgres: EmbeddedPostgres) -> None:
    """Start a server with a migrated template, for databases that live as long as a test."""
    postgres.start()
    with psycopg.connect(postgres.url, autocommit=True) as conn:
        conn.execute(f"create database {TEMPLATE}")
        conn.execute("alter system set fsync = off")
        conn.execute("select pg_reload_conf()")
    migrate(
        Settings(
            database_url=postgres.url.rpartition("/")[0] + f"/{TEMPLATE}",
            database_role_password=ROLE_PASSWORD,
        )
    )


def _write(path: Path, values: dict[str, str]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(values))
    partial.replace(path)
