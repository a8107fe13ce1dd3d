"""`turnsheet send` and `import`: files in, over HTTP as any client would."""

import asyncio
import json
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, get_args
from zoneinfo import available_timezones

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from services.client import Service, speaks
from services.ingest.cli.delivery import Undelivered, deliver, open_session, send_lines
from services.ingest.imports import FORMATS, Format, read_stints
from services.ingest.mapping import Rules
from services.ingest.rows import FileRefused, Stint
from services.ingest.sendings import Sending
from services.terminal import AsJson, err, fail, read_id

SHOWN_MAX: Final = 50

app = typer.Typer()


@app.command()
@speaks("ingest", "admin")
def send(
    ingest: Service,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="One event a line.")],
    as_json: AsJson = False,
) -> None:
    """Send events from a file, one a line.

    What is refused is listed by its line, and ends with 1. Sending a file again is harmless.
    """
    url, token = ingest.base, ingest.bearer
    started, sending = time.monotonic(), Sending()
    with _progress(hide=as_json) as progress, file.open("rb") as lines:
        task = progress.add_task(f"sending {file.name}", total=file.stat().st_size)

        def note(size: int) -> None:
            progress.advance(task, size)

        try:
            asyncio.run(send_lines(url, token, lines, sending, note, err.print))
        except Undelivered as error:
            _tell_so_far(sending)
            fail(str(error))
        except KeyboardInterrupt:
            _tell_so_far(sending)
            raise
    seconds = time.monotonic() - started
    if as_json:
        typer.echo(json.dumps(sending.report() | {"seconds": round(seconds, 3)}))
    else:
        _print_refusals([(r["line"], r["code"], r["detail"]) for r in sending.rejections])
        rate = sending.accepted / seconds
        typer.echo(
            f"{sending.accepted} accepted, {len(sending.rejections)} rejected "
            f"in {seconds:.1f} s ({rate:.0f} events/s)"
        )
    raise typer.Exit(1 if sending.rejections else 0)


def _tell_so_far(sending: Sending) -> None:
    err.print(f"{sending.accepted} accepted so far; sending the file again is harmless")


def _progress(*, hide: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=err,
        disable=hide or not err.is_terminal,
    )


def _print_refusals(refusals: Sequence[tuple[int, str, str]]) -> None:
    if not refusals:
        return
    table = Table("line", "code", "why", box=None)
    for line, code, why in refusals[:SHOWN_MAX]:
        table.add_row(str(line), code, why)
    err.print(table)
    if len(refusals) > SHOWN_MAX:
        err.print(f"… and {len(refusals) - SHOWN_MAX} more; --json lists all")


@app.command("import")
@speaks("ingest", "admin")
def import_file(
    ingest: Service,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A CSV export.")],
    form: Annotated[str, typer.Option("--format", help=f"{' or '.join(FORMATS)}.")],
    timezone: Annotated[str, typer.Option(help="The zone of its times, like Asia/Manila.")],
    mapping: Annotated[
        Path, typer.Option("--map", exists=True, dir_okay=False, help="The rules, as TOML.")
    ],
    firm: Annotated[
        str | None, typer.Option(parser=read_id, help="The firm where no rule names one.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Only tell what would happen.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import a tool's CSV export.

    The same file twice adds nothing. Bad rows are listed by line, and end with 1; rows without a
    rule are told with the words that need one.
    """
    if form not in get_args(Format):
        raise typer.BadParameter(f"no format {form}: give {' or '.join(FORMATS)}")
    if timezone not in available_timezones():
        raise typer.BadParameter(f"no time zone {timezone}: give one like Asia/Manila")
    rules = _read_rules(mapping)
    raw = file.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        fail(f"{file.name} is not UTF-8")
    query = f"format={form}&timezone={timezone.replace('+', '%2B')}&dry_run={str(dry_run).lower()}"
    call = f"{ingest.base}/v1/imports?{query}" + (f"&firm_id={firm}" if firm else "")
    body = json.dumps({"csv": text, "mapping": rules}).encode()
    try:
        status, report = asyncio.run(_post_import(call, ingest.bearer, body))
    except Undelivered as error:
        fail(str(error))
    if status != 200:
        why = [f"{one['code']}: {one['detail']}" for one in report.get("errors", [])]
        fail(f"{status} {report.get('title')} {'; '.join(why) or report.get('detail', '')}")
    if as_json:
        typer.echo(json.dumps(report))
    else:
        _print_import(report, raw)
    raise typer.Exit(1 if report["refused"] else 0)


async def _post_import(call: str, token: str, body: bytes) -> tuple[int, Any]:
    async with open_session(token) as http:
        return await deliver(http, call, body, "application/json", has="rows", tell=err.print)


def _read_rules(path: Path) -> dict[str, Any]:
    """Read the rules and check them here, where their own file can be named."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        Rules.model_validate(found)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path.name} is no TOML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise typer.BadParameter(f"{path.name}: {where}: {first['msg']}") from None
    return found


def _print_import(report: dict[str, Any], raw: bytes) -> None:
    refusals = [(row["line"], row["code"], row["detail"]) for row in report["refusals"]]
    _print_refusals(refusals)
    _print_unmapped({line for line, code, _ in refusals if code == "unmapped"}, raw, report)
    would = "would be " if report["dry_run"] else ""
    typer.echo(
        f"{report['rows']} rows: {report['accepted']} {would}accepted, "
        f"{report['known']} already known, {report['refused']} refused"
    )


def _print_unmapped(lines: set[int], raw: bytes, report: dict[str, Any]) -> None:
    """Show the words that need a rule; they are in the file here, and the service tells none."""
    try:
        stints = read_stints(raw, report["format"])
    except FileRefused:
        return  # the service has read it, so this is another file by now
    words: dict[tuple[str, str, str, str], int] = {}
    for stint in stints:
        if isinstance(stint, Stint) and stint.line in lines:
            key = (stint.user or stint.email, stint.client, stint.project, ", ".join(stint.tags))
            words[key] = words.get(key, 0) + 1
    if not words:
        return
    table = Table("user", "client", "project", "tags", "rows", box=None, title="need a rule")
    for key, count in sorted(words.items()):
        table.add_row(*key, str(count))
    err.print(table)
