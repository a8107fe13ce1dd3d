"""The demo's story: a month of work goes in by the doors that users have, and figures come out."""

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console

from services.client import call
from services.demo.delivery import deliver, make_tokens
from services.demo.files import write_workload
from services.demo.workload import ADMIN, Workload, simulate
from services.folding import caught_up
from services.kafka import log_ends
from services.machine.installation import recover, running
from services.machine.operator_tokens import operator_token
from services.machine.ownership import LOCK, OWNER, owned
from services.postgres import House, connect
from services.progress import Teller
from services.refusals import Refused
from services.settings import Settings, load

FIRM_COUNT, SEED, FIRST_DAY = 4, 7, date(2026, 7, 1)
RATES = {"IN": 800, "PH": 900, "CO": 1250, "AR": 1300, "MX": 1400, "CR": 1500}  # cents an hour
EXTRA = {"legal_assistant": 0, "intake_specialist": 200, "paralegal": 500}  # cents an hour
APPROVING_FIRM, ROUNDED_FIRM = "firm-003", "firm-002"
READS: dict[House, tuple[str, ...]] = {
    "metrics": ("directory", "task-events", "time-events"),
    "billing": ("directory", "time-events"),
}
SETTLE_SECONDS = 90.0
INVOICE = "INV-2026-000001"
MARK = "demo.mark"  # a folder with this file in it is the demo's own
KEPT = {MARK, LOCK, OWNER}


class StoryFailed(Refused):
    """A step of the demo did not go as told; the message says which."""


@dataclass
class Telling:
    """What the story knows while it is told."""

    settings: Settings
    console: Console
    teller: Teller
    workload: Workload
    event_count: int = 0
    send_seconds: float = 0.0


def tell(home: Path, *, keep: bool) -> None:
    """Tell the whole story from an empty data folder. Raises whatever a step raises."""
    began = time.monotonic()
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    given = load(remembered=False)
    if given.database_url or given.kafka_bootstrap_servers:
        raise StoryFailed(
            "the demo makes firms and invoices up, on servers of its own: "
            "unset DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS"
        )
    make_empty(home)
    with Teller(console) as teller:
        workload = simulate(FIRM_COUNT, 1, SEED, FIRST_DAY)
        with running(given, teller.say, console.print) as installation:
            telling = Telling(installation.settings, console, teller, workload)
            _put_in(telling, home / "simulated")
            teller.done()
            _show(home)
            _sum_up(telling, time.monotonic() - began, home)
            if keep:
                _stay(telling, home)
        teller.done()


def make_empty(home: Path) -> None:
    """Make the demo's folder, or empty the one that a demo before has left.

    Raises `StoryFailed` for a folder that holds anything else, and leaves it as it is;
    `AlreadyOwned` for one where something runs.
    """
    _check_folder(home)
    with owned(home):
        _check_folder(home)
        recover(home)  # what a killed demo has left running is found by its files
        (home / MARK).touch()
        for path in home.iterdir():
            if path.name in KEPT:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _check_folder(home: Path) -> None:
    if (home / MARK).exists() or not home.exists():
        return
    if any(path.name not in KEPT for path in home.iterdir()):
        raise StoryFailed(
            f"{home} holds data that is not the demo's: set TURNSHEET_HOME to an empty folder, "
            "or unset it"
        )


# What goes in


def _put_in(telling: Telling, folder: Path) -> None:
    settings, workload, say = telling.settings, telling.workload, telling.teller.say
    say("telling the directory, rates and terms")
    tokens = asyncio.run(make_tokens(settings, workload.world))
    tokens[ADMIN] = operator_token(settings, "admin")
    asyncio.run(deliver(settings, workload.directory, tokens))
    asyncio.run(_settle(settings))
    _set_rates(settings)
    _set_terms(telling)
    say(f"sending {len(workload.events)} events over HTTP")
    started = time.monotonic()
    telling.event_count = asyncio.run(deliver(settings, workload.events, tokens))
    telling.send_seconds = time.monotonic() - started
    say("importing the exports of Toggl and Clockify")
    write_workload(workload, folder)
    for placement in workload.world.placements:
        if placement.tool != "tracker":
            name = f"{placement.tool}-{placement.placement_id}"
            export = shlex.quote(str(folder / "exports" / f"{name}.csv"))
            rules = shlex.quote(str(folder / "exports" / f"{name}.toml"))
            _run(
                f"import {export} --format {placement.tool} "
                f"--timezone {placement.desk.zone} --map {rules}"
            )
    say("waiting until both houses have read the log")
    asyncio.run(_settle(settings))
    _run(f"timesheet approve {APPROVING_FIRM} --from 2026-07-01 --to 2026-07-31")


def _set_rates(settings: Settings) -> None:
    for country, cents in RATES.items():
        for role, extra in EXTRA.items():
            whole = cents + extra
            told = {"country": country, "role": role, "rate": f"{whole // 100}.{whole % 100:02}"}
            call(settings, "billing", "PUT", "/v1/rate-cards", told | {"valid_from": "2026-01-01"})


def _set_terms(telling: Telling) -> None:
    for firm in telling.workload.world.firms:
        told = {
            "effective_month": "2026-01",
            "approval": "required" if firm.firm_id == APPROVING_FIRM else "none",
            "increment_minutes": 6 if firm.firm_id == ROUNDED_FIRM else 0,
        }
        call(telling.settings, "billing", "PUT", f"/v1/firms/{firm.firm_id}/billing-terms", told)


async def _settle(settings: Settings) -> None:
    """Wait until both houses have applied everything that is on the log."""
    for house, topics in READS.items():
        ends = await log_ends(settings, [settings.topic(name) for name in topics])
        conn = await connect(settings, house, "writer")
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while not await caught_up(conn, ends):  # noqa: ASYNC110 (another process's tables)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise StoryFailed(f"{house} has not read the log: see its log") from None
        finally:
            await conn.close()


# What comes out


def _show(home: Path) -> None:
    csv = home / f"{INVOICE}.csv"
    for command in (
        "scorecard firm-001 2026-W28",
        "bill run 2026-07",
        "bill approve --period 2026-07",
        "bill issue --period 2026-07 --date 2026-08-05",
        f"bill show {INVOICE}",
        f"bill export {INVOICE} -o {shlex.quote(str(csv))}",
        f"bill explain {INVOICE} 1",
    ):
        print(f"\n$ turnsheet {command}", flush=True)
        _run(command, shown=True)


def _run(command: str, *, shown: bool = False) -> None:
    """Run a command as a user would; its answer is shown, or kept for when it fails."""
    done = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-c", "from services.cli import main; main()", *shlex.split(command)],
        capture_output=not shown,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"COLUMNS": "100"},
    )
    if done.returncode != 0:
        said = "" if shown else (done.stderr or done.stdout).strip()[-500:]
        raise StoryFailed(f"`turnsheet {command}` ended with {done.returncode} {said}".strip())


def _sum_up(telling: Telling, seconds: float, home: Path) -> None:
    rate = telling.event_count / telling.send_seconds
    rows = len(telling.workload.tool_rows)
    print(
        f"\n{telling.event_count} events and {rows} rows of tool exports went through; "
        f"{rate:.0f} events a second over HTTP; {seconds:.0f} s in all.\n"
        f"The invoice's lines are in {home / f'{INVOICE}.csv'}",
        flush=True,
    )


@contextmanager
def _interrupted_quietly() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("stopping", flush=True)


def _stay(telling: Telling, home: Path) -> None:
    settings = telling.settings
    tokens: dict[str, Any] = json.loads((home / "tokens.json").read_text())
    print("Still running; try these, with TURNSHEET_HOME=" + shlex.quote(str(home)))
    for house in ("ingest", "metrics", "billing"):
        print(f"  {settings.url(house)}/docs/{house}")
    print(
        f"  tokens for {', '.join(tokens)} are in {home / 'tokens.json'}; Ctrl-C stops", flush=True
    )
    with _interrupted_quietly():
        while True:
            time.sleep(0.5)
