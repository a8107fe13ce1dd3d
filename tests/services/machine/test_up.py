"""`turnsheet up` as a person meets it: one owner, ready means ready, and no kill that it minds."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from services.machine.children import CHILDREN, SERVICES, end_orphans, find_orphans, note_children
from services.machine.installation import PORTS, SERVERS
from services.machine.ownership import AlreadyOwned, find_owner, owned, vacated
from services.settings import CHOSEN, write_private
from tests.servers import own_port

ROOT = Path(__file__).parent.parent.parent.parent
# Tests that run in the background of a script have SIGINT ignored; a command at work has not.
HEARING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
COMMAND = [sys.executable, "-c", f"{HEARING}; from services.cli import main; main()"]
CTRL_C_SECONDS = 10
READY_SECONDS = 90


@pytest.fixture
def home():
    """A data folder that remembers ports of its own; its servers end whatever the test did."""
    folder = Path(tempfile.mkdtemp(prefix="turnsheet-up-"))
    kafka = {"port": own_port(), "controller_port": own_port()}
    write_private(folder / SERVERS, {"kafka": kafka, "postgres": {"port": own_port()}})
    write_private(folder / CHOSEN, {port: own_port() for port in PORTS})
    yield folder
    turnsheet(folder, "down")
    shutil.rmtree(folder)


@pytest.fixture
def start(home):
    """Starts `turnsheet up` and returns it with what it says when all is ready."""
    owners = []

    def start_up():
        owner = subprocess.Popen(
            [*COMMAND, "up", "--json"],
            env=environment(home), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        owners.append(owner)
        assert owner.stdout is not None
        line = owner.stdout.readline()
        if not line:
            pytest.fail(owner.communicate()[1])
        return owner, json.loads(line)

    yield start_up
    for owner in owners:
        if owner.returncode is None:
            owner.terminate()
            owner.communicate(timeout=30)


def environment(home):
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TURNSHEET_")
        and name not in {"DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"}
    }
    return ours | {
        "TURNSHEET_HOME": str(home),
        "TURNSHEET_TOPIC_PARTITIONS": "1",
        "TURNSHEET_TOPIC_INDEX_BYTES": "65536",
    }


def turnsheet(home, *arguments):
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(home), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def parts(home):
    """The processes of an installation, by name."""
    found = {
        name: psutil.Process(pid) for name, pid in json.loads((home / CHILDREN).read_text()).items()
    }
    found["kafka"] = psutil.Process(int((home / "kafka" / "kafka.pid").read_text()))
    postmaster = home / "postgres" / "data" / "postmaster.pid"
    found["postgres"] = psutil.Process(int(postmaster.read_text().split("\n")[0]))
    return found


def living(processes):
    return {
        name
        for name, process in processes.items()
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    }


def await_that(condition):
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.timeout(400)
def test_an_installation_has_one_owner_mends_itself_and_survives_any_kill(home, start):
    owner, said = start()
    first = parts(home)
    assert said["pid"] == owner.pid
    assert living(first) == {*SERVICES, "kafka", "postgres"}
    status = turnsheet(home, "status", "--json")
    assert (status.returncode, json.loads(status.stdout)["owner"]["pid"]) == (
        0,
        owner.pid,
    ), status.stdout
    assert {
        path.name: path.stat().st_mode & 0o777 for path in home.glob("*.json")
    } == dict.fromkeys(
        ["chosen.json", "owner.json", "servers.json", "services.json", "tokens.json"], 0o600
    )

    folders = {name: home / name for name in ("", "kafka", "logs", "postgres")}
    passed = {"": 0o711} if os.getuid() == 0 else {}  # by the user that runs root's Postgres
    assert {name: path.stat().st_mode & 0o777 for name, path in folders.items()} == (
        dict.fromkeys(folders, 0o700) | passed
    )

    second = turnsheet(home, "up")
    assert second.returncode == 1
    assert f"{home} is run by process {owner.pid} since 20" in second.stderr

    first["ingest"].kill()
    await_that(lambda: turnsheet(home, "status").returncode == 0)
    assert parts(home)["ingest"].pid != first["ingest"].pid

    killed = parts(home)
    owner.kill()
    owner.communicate()
    assert living(killed) == {*SERVICES, "kafka", "postgres"}
    assert "was killed: `turnsheet down` ends it" in turnsheet(home, "status").stdout

    owner, _ = start()
    assert living(killed) == set()
    running = parts(home)
    assert living(running) == {*SERVICES, "kafka", "postgres"}
    asked = time.monotonic()
    owner.send_signal(signal.SIGINT)
    _, words = owner.communicate(timeout=30)
    assert (owner.returncode, time.monotonic() - asked < CTRL_C_SECONDS) == (0, True), words
    assert living(running) == set()
    assert "nothing is run from" in turnsheet(home, "status").stdout


def test_a_stop_is_heard_while_the_first_start_fetches(home, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as registry:  # it takes calls and answers none
        silent = {
            "HTTPS_PROXY": f"http://127.0.0.1:{registry.getsockname()[1]}",
            "XDG_CACHE_HOME": str(tmp_path),
            "DATABASE_URL": "postgresql://127.0.0.1:1/nothing",
        }
        owner = subprocess.Popen(
            [*COMMAND, "up"], env=environment(home) | silent, cwd=ROOT, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert owner.stderr is not None
        while "fetching" not in owner.stderr.readline():
            assert owner.poll() is None
        asked = time.monotonic()
        owner.send_signal(signal.SIGINT)
        _, words = owner.communicate(timeout=60)
    assert (owner.returncode, words) == (0, "· stopping\nstopped\n")
    assert time.monotonic() - asked < CTRL_C_SECONDS


@pytest.mark.timeout(200)
def test_down_ends_an_owner_and_what_a_killed_one_has_left(home, start):
    owner, _ = start()
    running = parts(home)
    owner.kill()
    owner.communicate()
    assert living(running) == {*SERVICES, "kafka", "postgres"}
    down = turnsheet(home, "down", "--json")
    assert json.loads(down.stdout) == {"stopped": ["services", "Kafka", "Postgres"]}
    assert living(running) == set()
    assert json.loads(turnsheet(home, "down", "--json").stdout) == {"stopped": []}


def test_a_data_folder_has_one_owner_and_a_dead_one_does_not_count(tmp_path):
    (tmp_path / "owner.json").write_text(
        '{"pid": 1, "since": "2026-01-01T00:00:00Z", "started": 0}'
    )
    assert find_owner(tmp_path) is None
    with owned(tmp_path):
        owner = find_owner(tmp_path)
        assert owner is not None
        assert owner.pid == os.getpid()
        with pytest.raises(AlreadyOwned, match=f"process {os.getpid()} since 20"), owned(tmp_path):
            pass
        with pytest.raises(AlreadyOwned), vacated(tmp_path, 0):
            pass
    with vacated(tmp_path, 0):
        assert find_owner(tmp_path) is None
        with pytest.raises(AlreadyOwned, match="by another process"), owned(tmp_path):
            pass
    assert find_owner(tmp_path) is None


def test_a_process_that_only_has_the_id_of_an_old_service_is_left_alone(tmp_path):
    (tmp_path / CHILDREN).write_text(json.dumps({"ingest": os.getpid(), "metrics": 2**22 + 1}))
    assert find_orphans(tmp_path) == []
    assert end_orphans(tmp_path) == 0
    note_children(tmp_path, [])
    assert json.loads((tmp_path / CHILDREN).read_text()) == {}
