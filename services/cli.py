"""`turnsheet`: the root of all commands, and those that run everything on this machine."""

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Annotated, Any, Literal

import asyncpg
import psutil
import psycopg
import typer
from aiokafka.errors import KafkaError
from pydantic import SecretStr
from rich.table import Table

from services.billing.cli import app as billing
from services.client import CalledWrongly
from services.demo.cli import app as demo
from services.folding import rebuild as rebuild_tables
from services.ingest.cli import app as ingest
from services.kafka import KafkaUnreached, TopicRefused
from services.machine import doctor as checkup
from services.machine.children import SERVICES, ServiceFailed, find_orphans, probe_services
from services.machine.database import told_refusals
from services.machine.embedded_kafka import KafkaFailed
from services.machine.embedded_postgres import PostgresFailed
from services.machine.installation import (
    Installation,
    PortTaken,
    StopAsked,
    hear_signals,
    recover,
    running,
)
from services.machine.jars import JarsUnavailable
from services.machine.operator_tokens import FILE
from services.machine.ownership import LOCK, AlreadyOwned, Owner, find_owner, vacated
from services.machine.stream import LogStream
from services.metrics.cli import app as metrics
from services.postgres import connect
from services.progress import Teller
from services.refusals import Refused
from services.settings import (
    Settings,
    SettingsRefused,
    database_place,
    describe,
    environment_name,
    load,
)
from services.terminal import AsJson, say_error, show
from services.terminal import err as console

EXPECTED = (
    AlreadyOwned, JarsUnavailable, KafkaFailed, KafkaUnreached, PortTaken, PostgresFailed,
    Refused, ServiceFailed, SettingsRefused, TopicRefused,
)  # fmt: skip
INTERRUPTED = 130  # what typer makes of Ctrl-C
DOWN_SECONDS = 30.0
WAIT_SECONDS = 0.5
REBUILD_ATTEMPTS = 5

HELP = """From an assistant's time tracker to a firm's scorecard and invoice.

Begin with `turnsheet demo`, which shows all of it; or `turnsheet up`, then the other commands from
a second terminal.
"""

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=HELP)


@app.command()
def up(
    quiet: Annotated[bool, typer.Option(help="Show no logs; they are in the data folder.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="When all is ready, print addresses as JSON; no logs.")
    ] = False,
) -> None:
    """Run Postgres, Kafka and the three services here until Ctrl-C.

    DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS name servers to use instead of own ones. Data, logs,
    chosen ports and the operator's tokens lie in TURNSHEET_HOME.
    """
    stop_asked = hear_signals()
    settings = load(remembered=False)
    try:
        with (
            Teller(console) as teller,
            running(settings, teller.say, console.print, stop_asked) as installation,
        ):
            teller.done()
            if as_json:
                typer.echo(json.dumps(addresses(installation)))
            else:
                _print_addresses(installation)
            _wait(installation, stop_asked, show_logs=not quiet and not as_json)
            teller.say("stopping")
    except StopAsked:
        pass
    console.print("stopped")


def addresses(installation: Installation) -> dict[str, Any]:
    """Say where everything is, without a secret: tokens stand in a file of the data folder."""
    settings = installation.settings
    return {
        "pid": os.getpid(),
        "home": str(settings.home),
        "services": {
            name: {"url": settings.url(name), "ops_url": settings.ops_url(name)}
            for name in SERVICES
        },
        "kafka_bootstrap_servers": settings.kafka_bootstrap_servers,
        "database": database_place(settings.database_url),
        "tokens": str(settings.home / FILE),
    }


def _print_addresses(installation: Installation) -> None:
    found = addresses(installation)
    for name, at in found["services"].items():
        console.print(f"  {name:9} {at['url']}   health and counters: {at['ops_url']}")
    console.print(f"  postgres  {found['database']}")
    console.print(f"  kafka     {found['kafka_bootstrap_servers']}")
    console.print(f"  tokens    {found['tokens']}   logs: {found['home']}/logs")
    console.print("everything is ready; Ctrl-C stops it")


def _wait(installation: Installation, stop_asked: threading.Event, *, show_logs: bool) -> None:
    stream = LogStream(
        installation.logs(), sys.stderr, colours=sys.stderr.isatty() and not console.no_color
    )
    if show_logs:
        stream.start()
    try:
        while not stop_asked.wait(WAIT_SECONDS):
            if installation.failure is not None:
                raise installation.failure
    finally:
        if show_logs:
            stream.stop()


@app.command()
def down(as_json: AsJson = False) -> None:
    """Stop what runs here, also what a killed `up` has left."""
    home = load().home
    stopped: list[str] = []
    owner = find_owner(home)
    if owner is not None:
        _stop_owner(owner)
        stopped.append(f"process {owner.pid}")
    if (home / LOCK).exists():  # else nothing has ever run here
        with vacated(home, DOWN_SECONDS):
            stopped += recover(home)
    if as_json:
        typer.echo(json.dumps({"stopped": stopped}))
    else:
        console.print(f"stopped {', '.join(stopped)}" if stopped else "nothing ran here")


def _stop_owner(owner: Owner) -> None:
    try:
        process = psutil.Process(owner.pid)
        process.terminate()
        process.wait(DOWN_SECONDS)
    except psutil.NoSuchProcess:
        return  # it has ended meanwhile
    except psutil.AccessDenied:
        raise ServiceFailed(
            f"process {owner.pid} is another user's: run `turnsheet down` as that user"
        ) from None
    except psutil.TimeoutExpired:
        raise ServiceFailed(
            f"process {owner.pid} did not stop within {DOWN_SECONDS:.0f} s: end it with "
            f"`kill -9 {owner.pid}`, then run `turnsheet down` again"
        ) from None


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say what runs here, and whether it is ready.

    Ends with 1 when not all is ready.
    """
    settings = load()
    owner = find_owner(settings.home)
    services = probe_services(settings)
    if as_json:
        report = {
            "owner": owner and {"pid": owner.pid, "since": owner.since},
            "services": {n: {"url": settings.url(n), "state": s} for n, s in services.items()},
        }
        typer.echo(json.dumps(report))
    else:
        _print_status(settings, owner, services)
    raise typer.Exit(0 if set(services.values()) == {"ready"} else 1)


def _print_status(settings: Settings, owner: Owner | None, services: dict[str, str]) -> None:
    if owner is not None:
        typer.echo(f"process {owner.pid} runs {settings.home} since {owner.since}")
    elif find_orphans(settings.home):
        typer.echo(
            f"what runs {settings.home} was left by an `up` that was killed: `turnsheet down` "
            "ends it, `turnsheet up` takes its place"
        )
    else:
        typer.echo(f"nothing is run from {settings.home}: `turnsheet up` starts it")
    for name, state in services.items():
        typer.echo(f"{name:8} {settings.url(name):24} {state}")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check each part and say how to mend it; list every setting.

    Ends with 1 when something is to be mended.
    """
    settings, findings = checkup.examine(os.environ)
    table = Table("part", "state", "what to do", box=None)
    for finding in findings:
        table.add_row(*finding)
    listed = Table("setting", "value", "from", "meaning", box=None)
    for row in describe(settings):
        listed.add_row(*row)
    body = checkup.report(settings, findings)
    show(body, [table, "", listed], as_json=as_json, width=160)
    raise typer.Exit(1 if any(finding.mend for finding in findings) else 0)


@app.command()
def migrate(as_json: AsJson = False) -> None:
    """Bring the database's schema up to date.

    `up` does it too; a second time changes nothing.
    """
    # 0.3 s that no other command needs.
    from services.migrations import migrate as migrate_database  # noqa: PLC0415 (see above)

    settings = load()
    _require(settings, "database_url", "database_role_password")
    with told_refusals(settings):
        migrate_database(settings)
    if as_json:
        typer.echo(json.dumps({"migrated": True}))
    else:
        console.print("the schema is up to date")


def _require(settings: Settings, *fields: str) -> None:
    lacking = [environment_name(field) for field in fields if not _is_set(settings, field)]
    if lacking:
        raise Refused(f"set {' and '.join(lacking)}, or run `turnsheet up`, which chooses them")


def _is_set(settings: Settings, field: str) -> bool:
    value = getattr(settings, field)
    return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)


@app.command()
def rebuild(
    house: Annotated[Literal["metrics", "billing"], typer.Argument(help="metrics or billing.")],
    as_json: AsJson = False,
) -> None:
    """Let a house read the whole log again.

    Empties what it keeps of the log: its consumer, running or not, reads it anew. Rates, terms,
    approvals and invoices stay as they are.
    """
    settings = load()
    _require(settings, "database_url", "database_role_password")
    with told_refusals(settings):
        asyncio.run(_rebuild(settings, house))
    if as_json:
        typer.echo(json.dumps({"rebuilding": house}))
    else:
        console.print(f"{house} was emptied; its consumer reads the log again")


async def _rebuild(settings: Settings, house: Literal["metrics", "billing"]) -> None:
    conn = await connect(settings, house, "writer")
    try:
        for attempt in range(1, REBUILD_ATTEMPTS + 1):
            try:
                return await rebuild_tables(conn)
            except asyncpg.DeadlockDetectedError:  # a reader of several tables was in the way
                if attempt == REBUILD_ATTEMPTS:
                    raise
    finally:
        await conn.close()


for house in (ingest, metrics, billing, demo):
    app.registered_commands += house.registered_commands
    app.registered_groups += house.registered_groups


def main() -> None:
    """Run a command; what can be expected to go wrong is one sentence, not a traceback."""
    _end_as_by_ctrl_c(signal.SIGTERM, signal.SIGHUP)
    logging.getLogger().addHandler(logging.NullHandler())  # libraries' words are not for people
    code = 1
    try:
        app()
    except BrokenPipeError:
        os._exit(1)  # the reader of our output has gone
    except SystemExit as ended:
        if ended.code != INTERRUPTED:
            raise
        sentence, code = "interrupted", INTERRUPTED
    except EXPECTED as error:
        sentence = str(error)
        code = 2 if isinstance(error, CalledWrongly) else 1
    except (psycopg.OperationalError, asyncpg.PostgresConnectionError):
        sentence = "the database does not answer: see `turnsheet doctor`"
    except (KafkaError, ConnectionError):
        sentence = "Kafka or a service does not answer: see `turnsheet doctor`"
    except Exception as error:  # noqa: BLE001 (people get a sentence, developers the file)
        if isinstance(error, OSError) and error.filename is not None:
            sentence = f"{error.filename}: {error.strerror}"
        else:
            sentence = f"unexpected {type(error).__name__}: the details are in {_keep_traceback()}"
    else:
        return
    say_error(sentence)
    raise SystemExit(code)


def _end_as_by_ctrl_c(*numbers: signal.Signals) -> None:
    """Have signals end a command in order; one that came in ignored, as by `nohup`, stays so."""
    for number in numbers:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def _keep_traceback() -> Path:
    """Write the present exception to a file that only its owner can read."""
    number, name = tempfile.mkstemp(prefix="turnsheet-error-", suffix=".txt")
    with os.fdopen(number, "w") as file:
        traceback.print_exc(file=file)
    return Path(name)
