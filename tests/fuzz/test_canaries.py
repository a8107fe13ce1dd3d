"""Names, matters and secrets planted everywhere a client can write: none of them comes out."""

import asyncio
import base64
import os
import subprocess
import sys
import time
from collections import defaultdict
from http.client import HTTPConnection
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from services.machine.children import SERVICES, child_environment
from tests.fuzz.canaries import Canary, canaries
from tests.servers import VARIABLE

ROOT = Path(__file__).parents[2]
# Tables that hold what the sender calls things, or the event itself, as it lies on the log.
DECLARED_TABLES = {("metrics", "fact"), ("billing", "fact")}
# The trail names the firm that was asked for, be there one or not: by an id, and nothing else fits.
IDS = {("billing", "audit"): {"token in the address /v1/firms/{}/billing-terms"}}


def ask(world, canary: Canary) -> tuple[int, bytes]:
    """Send one canary; return the status and all that came back."""
    asked = canary.asked
    headers = {"Authorization": f"Bearer {world.tokens[asked.who]}"} | dict(asked.more)
    if asked.raw and "Content-Type" not in headers:
        headers["Content-Type"] = asked.media
    if asked.method == "POST":
        headers.setdefault("Idempotency-Key", canary.core[4:])
    conn = HTTPConnection("127.0.0.1", getattr(world.settings, f"{asked.house}_port"), timeout=30)
    try:
        conn.request(asked.method, asked.path, asked.raw or None, headers)
        answer = conn.getresponse()
        return answer.status, answer.headers.as_bytes() + answer.read()
    finally:
        conn.close()


class Aviary:
    """All canaries, looked for in some bytes at once."""

    def __init__(self, some: list[Canary]) -> None:
        self.forms = {form: canary for canary in some for form in canary.forms()}

    def found(self, raw: bytes) -> list[str]:
        """Name the canaries that sing in some bytes."""
        if b"cnry" not in raw and b"636e7279" not in raw and not _coded(raw):
            return []
        return sorted({f"{c.shape} in {c.place}" for form, c in self.forms.items() if form in raw})


def _coded(raw: bytes) -> bool:
    """Say whether the beginning of a canary may be there in base64."""
    return any(part in raw for part in (b"Y25ye", b"Nucn", b"bnJ5"))


@pytest.mark.parametrize("before", [b"", b"x", b"xy"])
def test_a_canary_is_found_as_it_is_in_hex_and_in_base64_wherever_it_begins(before):
    some = list(canaries())[:100]
    aviary = Aviary(some)
    for canary in some:
        said = before + canary.core.encode() + b" and more"
        for written in (said, said.hex().encode(), base64.b64encode(said)):
            assert aviary.found(written) == [f"{canary.shape} in {canary.place}"], written


@pytest.fixture(scope="module")
def sung(world):
    """Plant them all; what came back, by canary."""
    planted = list(canaries())
    assert len({canary.core for canary in planted}) == len(planted) >= 300
    return planted, [ask(world, canary) for canary in planted]


def test_no_answer_repeats_a_word_and_none_is_a_fault_of_ours(world, sung):
    told = defaultdict(list)
    for canary, (status, answer) in zip(*sung, strict=True):
        assert status < 500, (canary, status)
        is_declared = canary.place.startswith("declared ")
        assert is_declared or status != 202, canary
        if canary.core.encode() in answer and not is_declared:
            told[canary.place].append(answer)
    assert dict(told) == {}


def test_nothing_undeclared_lies_on_the_log_and_nothing_at_all_in_its_headers_and_keys(world, sung):
    planted, _ = sung
    hidden = Aviary([c for c in planted if not c.place.startswith("declared ")])
    everyone = Aviary(planted)
    values = b"\n".join(record.value for record in asyncio.run(world.records()))
    around = b"\n".join(
        b" ".join([record.key, *(name.encode() + b"=" + value for name, value in record.headers)])
        for record in asyncio.run(world.records())
    )
    assert hidden.found(values) == []
    assert everyone.found(around) == []
    assert len(everyone.found(values)) > 60, "what is declared was not even taken"


def test_no_log_counter_or_health_answer_has_a_word(world, sung):
    planted, _ = sung
    world.settle()
    everyone = Aviary(planted)
    said = {child.name: child.log.read_bytes() for child in world.children}
    servers = Path(os.environ[VARIABLE])
    said |= {path.name: path.read_bytes() for path in servers.glob("*/*.log")}
    assert {"kafka.log", "postgres.log"} <= set(said)
    assert all(b"request_served" in said[name] for name in SERVICES)
    assert all(b"library_spoke" in said[name] for name in SERVICES), "this is not all they can say"
    for house in SERVICES:
        for path in ("/metrics", "/readyz", "/livez"):
            port = getattr(world.settings, f"{house}_ops_port")
            conn = HTTPConnection("127.0.0.1", port, timeout=30)
            conn.request("GET", path)
            said[house + path] = conn.getresponse().read()
            conn.close()
    assert {place: found for place, raw in said.items() if (found := everyone.found(raw))} == {}


def test_no_table_has_a_word_in_a_column_that_is_not_declared(world, sung):
    planted, _ = sung
    world.settle()
    hidden = Aviary([c for c in planted if not c.place.startswith("declared ")])
    everyone = Aviary(planted)
    with psycopg.connect(world.settings.database_url) as conn:
        tables = conn.execute(
            "select table_schema, table_name from information_schema.tables where table_type = "
            "'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        found = {}
        for schema, table in tables:
            every = sql.SQL("select t::text from {} t").format(sql.Identifier(schema, table))
            raw = b"\n".join(row.encode() for (row,) in conn.execute(every))
            looked = hidden if (schema, table) in DECLARED_TABLES else everyone
            words = set(looked.found(raw)) - IDS.get((schema, table), set())
            if words:
                found[schema, table] = words
    assert len(tables) > 20
    assert found == {}


# Commands and settings


SECRET = "cnrySecretOfTheOperator"
WORDS = "cnryMaria Delacruz"
COMMANDS = (
    ("status",),
    ("doctor",),
    ("bill", "list"),
    ("bill", "show", WORDS),
    ("bill", "run", WORDS),
    ("scorecard", WORDS, "2026-W28"),
    ("token", "list"),
    ("metrics", "firm-1", "--token", f"tns_admin_{SECRET}"),
)


def command(arguments, environment):
    return subprocess.run(
        [sys.executable, "-c", "from services.cli import main; main()", *arguments],
        env=environment, cwd=ROOT, capture_output=True, check=False, stdin=subprocess.DEVNULL,
        timeout=60,
    )  # fmt: skip


def test_no_command_shows_a_secret_or_breaks_over_words(world):
    """What a person typed may be repeated to that person; an exception of ours, a secret never."""
    scheme, _, rest = world.settings.database_url.partition("://")
    environment = child_environment(world.settings, os.environ) | {
        "TURNSHEET_TOKEN": f"tns_finance_{SECRET}",
        "TURNSHEET_TOKEN_PEPPER": SECRET,
        "TURNSHEET_DATABASE_ROLE_PASSWORD": SECRET,
        "DATABASE_URL": f"{scheme}://postgres:{SECRET}@{rest.rpartition('@')[2]}",
    }
    for arguments in COMMANDS:
        ended = command(arguments, environment)
        said = ended.stdout + ended.stderr
        assert ended.returncode in {0, 1, 2}, (arguments, said)
        assert SECRET.encode() not in said, (arguments, said)
        assert b"Traceback" not in said, (arguments, said)
        assert b"unexpected" not in said, (arguments, said)


@pytest.mark.parametrize("house", SERVICES)
def test_a_service_that_is_told_wrong_secrets_keeps_them_to_itself(world, house, tmp_path):
    environment = child_environment(world.settings, os.environ) | {
        "TURNSHEET_HOME": str(tmp_path),
        "TURNSHEET_TOKEN_PEPPER": SECRET,
        "TURNSHEET_DATABASE_ROLE_PASSWORD": SECRET,
        "TURNSHEET_TOKEN": f"tns_finance_{SECRET}",
        f"TURNSHEET_{house.upper()}_PORT": "0",
        f"TURNSHEET_{house.upper()}_OPS_PORT": "0",
    }
    log = tmp_path / "words"
    with log.open("wb") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", f"services.{house}"], env=environment, cwd=ROOT, stdout=words,
            stderr=words, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        until = time.monotonic() + 30
        while b"InvalidPassword" not in log.read_bytes() and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        process.terminate()
        process.wait(15)
    said = log.read_bytes()
    assert b"InvalidPassword" in said, said
    assert SECRET.encode() not in said
