"""`turnsheet`: run everything on this machine and look after it; the houses add their commands."""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import psutil
import typer
from rich.console import Console
from rich.table import Table

from services import doctor as checkup
from services.billing.cli import app as billing
from services.demo.cli import app as demo
from services.embedded_kafka import KafkaFailed
from services.embedded_postgres import PostgresFailed
from services.folding import rebuild as rebuild_tables
from services.ingest.cli import app as ingest
from services.installation import (
    SERVICES,
    AlreadyOwned,
    Installation,
    ServiceFailed,
    owned,
    owner_of,
    probe,
    start_servers,
    start_services,
    stop,
)
from services.jars import JarsUnavailable
from services.kafka import TopicRefused, ensure_topics
from services.metrics.cli import app as metrics
from services.migrations import migrate as migrate_database
from services.operator_tokens import FILE, ensure_operator_tokens
from services.postgres import connect
from services.settings import Settings, SettingsRefused, load

EXPECTED = (
    AlreadyOwned, JarsUnavailable, KafkaFailed, LookupError, PostgresFailed, ServiceFailed,
    SettingsRefused, TopicRefused,
)  # fmt: skip
DOWN_SECONDS = 30.0

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=__doc__)
for house in (ingest, metrics, billing, demo):
    app.registered_commands += house.registered_commands
    app.registered_groups += house.registered_groups
console = Console(stderr=True, highlight=False)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def say(words: str) -> None:
    """Tell the person at the terminal what goes on."""
    console.print(f"· {words}")


@contextmanager
def running(show: Any = None, say: Callable[[str], None] = say) -> Iterator[Installation]:
    """Run a whole installation for the length of a block: servers, schema, topics, services."""
    settings = load()
    with owned(settings.home):
        installation = Installation(settings)
        try:
            installation = start_servers(settings.home, say)
            say("bringing the schema up to date")
            migrate_database(installation.settings)
            asyncio.run(ensure_topics(installation.settings))
            asyncio.run(ensure_operator_tokens(installation.settings))
            start_services(installation, show, say)
            yield installation
        finally:
            stop(installation)


@app.command()
def up(
    quiet: Annotated[bool, typer.Option(help="Show no logs; they are in the data folder.")] = False,
) -> None:
    """Run Postgres, Kafka and the three services here until Ctrl-C."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with running(None if quiet else sys.stderr) as installation:
        settings = installation.settings
        for name in SERVICES:
            console.print(f"  {name:8} {settings.url(name)}   {settings.ops_url(name)}/readyz")
        console.print(f"  tokens   {settings.home / FILE}\nrunning; Ctrl-C stops everything")
        while not stopped.wait(0.5):
            for service in installation.services:
                if service.process.poll() is not None:
                    raise ServiceFailed(f"{service.name} ended: see {service.log}")
        say("stopping")


@app.command()
def down() -> None:
    """Stop what `turnsheet up` runs from this data folder."""
    owner = owner_of(load().home)
    if owner is None:
        console.print("nothing runs here")
        return
    process = psutil.Process(owner["pid"])
    process.terminate()
    try:
        process.wait(DOWN_SECONDS)
    except psutil.TimeoutExpired:
        _fail(f"process {owner['pid']} did not stop within {DOWN_SECONDS:.0f} s")
    console.print("stopped")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say what runs here, since when, and whether it is ready."""
    settings = load()
    owner = owner_of(settings.home)
    services = {name: probe(f"{settings.ops_url(name)}/readyz") for name in SERVICES}
    report = {
        "owner": owner and {"pid": owner["pid"], "since": owner["since"]},
        "services": {n: {"url": settings.url(n), "state": s} for n, s in services.items()},
    }
    if as_json:
        typer.echo(json.dumps(report))
    else:
        _print_status(settings, owner, services)
    raise typer.Exit(0 if set(services.values()) == {"ready"} else 1)


def _print_status(
    settings: Settings, owner: dict[str, Any] | None, services: dict[str, str]
) -> None:
    if owner is None:
        typer.echo(f"nothing is run from {settings.home}: `turnsheet up` starts it")
    else:
        typer.echo(f"process {owner['pid']} runs {settings.home} since {owner['since']}")
    for name, state in services.items():
        typer.echo(f"{name:8} {settings.url(name):24} {state}")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check each part and say how to mend it; list every setting with its origin."""
    settings = load()
    findings = checkup.examine(settings)
    if as_json:
        typer.echo(json.dumps(checkup.report(settings, findings)))
    else:
        table = Table("part", "state", "what to do", box=None)
        for finding in findings:
            table.add_row(finding.part, finding.state, finding.mend)
        listed = Table("setting", "value", "from", "meaning", box=None)
        for row in checkup.describe(settings):
            listed.add_row(row.name, row.value, row.origin, row.meaning)
        out = Console(width=None if sys.stdout.isatty() else 140)
        out.print(table)
        out.print()
        out.print(listed)
    raise typer.Exit(1 if any(finding.mend for finding in findings) else 0)


@app.command()
def migrate() -> None:
    """Bring the database's schema to the newest revision; a second time changes nothing."""
    settings = load()
    if not settings.database_url:
        raise LookupError("no database: set DATABASE_URL, or run `turnsheet up`, which migrates")
    migrate_database(settings)
    console.print("the schema is up to date")


@app.command()
def rebuild(
    house: Annotated[str, typer.Argument(help="metrics or billing.")],
) -> None:
    """Empty what a house keeps of the log; its consumer, running or not, reads it again."""
    if house not in {"metrics", "billing"}:
        raise typer.BadParameter("give metrics or billing")
    asyncio.run(_rebuild(load(), house))
    console.print(f"{house} was emptied; its consumer reads the log again")


async def _rebuild(settings: Settings, house: Any) -> None:
    conn = await connect(settings, house, "writer")
    try:
        await rebuild_tables(conn)
    finally:
        await conn.close()


def _fail(words: str) -> NoReturn:
    Console(stderr=True, highlight=False).print(f"[red]error[/red] {words}", soft_wrap=True)
    raise SystemExit(1)


def main() -> None:
    """Run a command; what can be expected to go wrong is one sentence, not a traceback."""
    started = time.monotonic()
    try:
        app()
    except EXPECTED as error:
        _fail(str(error.args[0] if error.args else error))
    except KeyboardInterrupt:
        _fail(f"interrupted after {time.monotonic() - started:.0f} s")
    except BrokenPipeError:
        os._exit(1)  # the reader of our output has gone
