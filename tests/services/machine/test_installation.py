"""An installation out of servers that are given, and what its services are told."""

import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from services.machine.children import (
    Child,
    child_environment,
    last_words,
    probe,
    stop_children,
)
from services.machine.installation import Installation, PortTaken, _watch, running
from services.machine.operator_tokens import ensure_operator_tokens, operator_token
from services.postgres import open_pool
from services.settings import Settings, SettingsRefused, load
from services.web.auth import authenticate, read_tokens


def test_servers_that_are_given_are_used_and_none_are_started(settings):
    steps: list[str] = []
    settings.home.mkdir()
    settings.home.chmod(0o755)
    with running(settings, steps.append, pytest.fail) as installation:
        found = installation.settings
        assert modes(settings.home, settings.home / "logs") == [0o700, 0o700]
        states = [probe(f"{found.ops_url(name)}/readyz") for name in installation.children]
        assert (installation.postgres, installation.kafka) == (None, None)
        assert states == ["ready", "ready", "ready"]
        remembered = load({"TURNSHEET_HOME": str(settings.home)})
        assert remembered.database_url == settings.database_url
        assert remembered.url("billing") == found.url("billing")
        assert remembered.token_pepper == settings.token_pepper
        assert operator_token(remembered, "finance") == installation.tokens["finance"]
    assert steps == [
        "bringing the schema up to date",
        "checking the topics",
        "starting ingest, metrics and billing",
    ]
    assert {probe(f"{found.ops_url(name)}/readyz") for name in ("ingest", "billing")} == {
        "no answer"
    }


@pytest.mark.parametrize("end", [BrokenPipeError, SystemExit], ids=["written to", "by rich"])
def test_a_part_is_started_again_when_nobody_reads_that_it_ended(tmp_path, end):
    told: list[str] = []

    def note(words):
        told.append(words)
        raise end

    installation = an_installation(tmp_path, tmp_path / "logs" / "ingest.log")
    first, watched = installation.children["ingest"], threading.Event()
    watching = threading.Thread(target=_watch, args=(installation, watched, note))
    watching.start()
    deadline = time.monotonic() + 10
    while installation.children["ingest"] is first and watching.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    watched.set()
    watching.join()
    stop_children(installation.children.values())
    assert (installation.failure, installation.children["ingest"] is first) == (None, False)
    assert told[0].startswith("ingest ended and is started again")


def test_a_watch_that_cannot_go_on_is_a_failure_and_no_silence(tmp_path):
    installation = an_installation(tmp_path, tmp_path)  # a log that cannot be quoted
    _watch(installation, threading.Event(), pytest.fail)
    assert isinstance(installation.failure, IsADirectoryError)


def an_installation(home, log):
    """One whose only service has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    settings = Settings(home=home, database_url="postgresql://127.0.0.1:1/nothing")
    return Installation(settings, children={"ingest": Child("ingest", process, log)})


def modes(*paths):
    return [path.stat().st_mode & 0o777 for path in paths]


async def test_operator_tokens_are_kept_while_the_database_takes_them(settings):
    settings.home.mkdir()
    first = await ensure_operator_tokens(settings)
    assert await ensure_operator_tokens(settings) == first
    other = settings.model_copy(
        update={"token_pepper": Settings(token_pepper="other").token_pepper}
    )
    again = await ensure_operator_tokens(other)
    assert again.keys() == first.keys()
    assert set(again.values()) & set(first.values()) == set()
    pool = await open_pool(settings, "identity", "writer", size=1)
    try:
        principal = await authenticate(
            read_tokens(pool), other.token_pepper, f"Bearer {again['finance']}"
        )
    finally:
        await pool.close()
    assert principal.id == "finance:operator"


def test_a_port_that_was_asked_for_and_is_taken_is_refused_before_anything_starts(tmp_path):
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        given = Settings(home=tmp_path, metrics_port=port)
        with (
            pytest.raises(PortTaken, match=f"port {port} is in use: set TURNSHEET_METRICS_PORT"),
            running(given, pytest.fail, pytest.fail),
        ):
            pass
    assert not (tmp_path / "postgres").exists()


@pytest.mark.parametrize("more", [{}, {"ingest_port": 8001}])
def test_a_host_that_is_not_of_this_machine_is_refused_before_anything_starts(tmp_path, more):
    given = Settings(home=tmp_path, host="192.0.2.7", **more)
    with (
        pytest.raises(SettingsRefused, match=r"cannot listen on 192\.0\.2\.7"),
        running(given, pytest.fail, pytest.fail),
    ):
        pass
    assert not (tmp_path / "postgres").exists()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://owner:s3cret@db:5432/turnsheet?sslmode=require",
        "postgresql://db:5432/turnsheet?user=owner&sslmode=require&password=s3cret",
    ],
)
def test_a_service_is_told_every_setting_and_no_secret(tmp_path, url):
    settings = Settings(
        home=tmp_path,
        database_url=url,
        token_pepper="s3cret",
        billing_port=18003,
    )
    told = child_environment(settings, {"PATH": "/bin", "TURNSHEET_TOKEN": "s3cret"})
    assert "s3cret" not in json.dumps(told)
    assert told["PATH"] == "/bin"
    heard = load(told)
    assert heard.database_url == "postgresql://db:5432/turnsheet?sslmode=require"
    assert (heard.home, heard.billing_port) == (tmp_path, 18003)


def test_a_service_is_told_the_server_whatever_else_the_address_holds(tmp_path):
    for url in ("postgresql://db/x?application_name=ops@firm", "postgresql:///x?host=/run"):
        told = child_environment(Settings(home=tmp_path, database_url=url), {})
        assert told["DATABASE_URL"] == url


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", ""),
        ("starting\nFATAL:  no space\n\n", ": FATAL:  no space"),
        (
            '{"event": "service_failed", "error": "OSError", "port": 1}\n',
            ": service_failed OSError",
        ),
    ],
)
def test_a_log_is_quoted_by_what_it_says_last(tmp_path, text, quoted):
    log: Path = tmp_path / "billing.log"
    assert last_words(log) == f"; see {log}"
    log.write_text(text)
    assert last_words(log) == f"{quoted}; see {log}"
