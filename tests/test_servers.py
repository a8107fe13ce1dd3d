"""What a test run starts ends with it, and what it tells a process is what it knows itself."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from services.machine.ports import CHOSEN, is_free
from services.settings import Settings
from tests import servers
from tests.servers import VARIABLE, fresh_database, own_port, plain, with_ports

ROOT = Path(__file__).parent.parent
SECONDS = 60
BEGIN = """
import json, multiprocessing, psutil, signal, subprocess, sys, tempfile
from pathlib import Path
from tests import servers
from tests.fuzz import world

def tell(**more):
    print(json.dumps({"folder": str(folder), **more}), flush=True)
    signal.pause()

folder = servers.prepare()
"""
FEW = """
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
forks = multiprocessing.get_context("forkserver")
fork = forks.Process(target=signal.pause)
fork.start()
tell(pids=[child.pid, fork.pid])
"""
ASK_FOR_PORTS = """
import os
from tests.servers import own_port
os.write(0, b".")
os.read(0, 1)
print(*[own_port() for _ in range(300)])
"""
OWN = """
postgres = servers.postgres_in(folder / "own" / "postgres")
postgres.start()
server = psutil.Process(postgres.pid())
frozen = [server, *server.children()]
for process in frozen:
    process.suspend()
tell(pids=[process.pid for process in frozen])
"""
WORLD = """
with servers.fresh_database() as url, tempfile.TemporaryDirectory() as home:
    settings = servers.settings_of(url, servers.addresses()["kafka"], Path(home))
    with world.running(settings, Path(home)) as made:
        kafka = int((folder / "kafka" / "kafka.pid").read_text())
        postgres = (folder / "postgres" / "data" / "postmaster.pid").read_text()
        pids = [child.process.pid for child in made.children]
        tell(pids=[*pids, kafka, int(postgres.split()[0])])
"""


@pytest.fixture
def begin():
    """Begins a run of its own, and ends what is left of it."""
    begun = []

    def begin_run(script):
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        run = subprocess.Popen(
            [sys.executable, "-c", BEGIN + script], env=environment, cwd=ROOT,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert run.stdout is not None
        said = json.loads(run.stdout.readline())
        begun.append((run, said["pids"]))
        return run, Path(said["folder"]), [psutil.Process(pid) for pid in said["pids"]]

    yield begin_run
    for run, pids in begun:
        run.kill()
        for pid in pids:  # these hold the run's output open, too
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
        run.communicate()


def await_end(folder, processes):
    """Wait until nothing of a run is left."""
    _, left = psutil.wait_procs(processes, SECONDS)
    assert left == []
    deadline = time.monotonic() + SECONDS
    while folder.exists():
        assert time.monotonic() < deadline, list(folder.iterdir())
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_leaves_no_process(begin, number):
    run, folder, processes = begin(FEW)
    assert folder.parent == Path(tempfile.gettempdir())
    run.send_signal(number)
    await_end(folder, processes)


def test_a_killed_run_leaves_no_postgres_of_a_test_not_even_a_frozen_one(begin):
    run, folder, processes = begin(OWN)
    assert len(processes) > 1
    run.kill()
    await_end(folder, processes)


@pytest.mark.timeout(200)
def test_a_killed_run_leaves_no_service_and_no_server(begin):
    run, folder, processes = begin(WORLD)
    assert len(processes) == 5
    run.kill()
    await_end(folder, processes)


def test_a_database_goes_with_its_block_however_that_ends(database_url):
    def fail_on_it():
        with fresh_database() as url:
            made.append(url.rpartition("/")[2])
            raise LookupError

    made: list[str] = []
    with pytest.raises(LookupError):
        fail_on_it()
    with psycopg.connect(database_url) as conn:
        there = "select count(*) from pg_database where datname = %s"
        assert conn.execute(there, made).fetchone() == (0,)


def test_what_a_process_is_told_of_the_settings_is_all_of_them(settings, monkeypatch):
    told = json.loads(json.dumps(plain(settings)))
    monkeypatch.setenv("TURNSHEET_TOPIC_PREFIX", "of-another")
    assert Settings(**told) == settings


def test_each_house_has_ports_of_its_own(settings):
    found = plain(with_ports(settings))
    ports = {found[f"{h}{o}_port"] for h in ("ingest", "metrics", "billing") for o in ("", "_ops")}
    assert len(ports) == 6
    assert all(is_free(settings.host, port) for port in ports)


def test_a_port_is_given_once_whichever_process_asks_and_whether_or_not_somebody_listens_there():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        asked = [
            subprocess.Popen(
                [sys.executable, "-c", ASK_FOR_PORTS],
                cwd=ROOT, stdin=theirs.fileno(), stdout=subprocess.PIPE, text=True,
            )
            for _ in range(2)
        ]  # fmt: skip
        assert ours.recv(1) == ours.recv(1) == b"."  # both are there
        ours.send(b"..")
        given = [int(port) for process in asked for port in process.communicate()[0].split()]
    assert len(given) == len(set(given)) == 600
    assert not {*given} & {*CHOSEN}


def test_a_port_that_somebody_listens_on_is_passed_over_and_the_turn_begins_again_at_its_end(
    monkeypatch, tmp_path
):
    ours = first, taken, last = own_port(), own_port(), own_port()  # nobody else comes to these
    monkeypatch.setattr(servers, "_TURN", tmp_path / "turn")
    monkeypatch.setattr(servers, "OWN_PORTS", ours)
    with socket.create_server(("127.0.0.1", taken)):
        assert [own_port() for _ in range(4)] == [first, last, first, last]
