"""The servers of one machine: found again, recovered after a kill, stopped by id."""

import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from services.machine import embedded_postgres
from services.machine.embedded_kafka import KafkaFailed, _last_error
from services.machine.embedded_postgres import find_place, forget_place, place
from services.machine.installation import recover
from services.machine.log_files import LOG_BYTES_MAX
from tests.servers import kafka_in, postgres_in


@pytest.fixture
def folder():
    """A folder that the unprivileged user of a root's Postgres can reach."""
    folder = Path(tempfile.mkdtemp(prefix="turnsheet-embedded-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def test_postgres_is_made_once_and_recovers_from_an_immediate_stop_and_a_kill(folder):
    postgres = postgres_in(folder / "postgres")
    postgres.start()
    try:
        with psycopg.connect(postgres.url) as conn:
            conn.execute("create table kept (n int)")
        postgres.stop("immediate")
        assert postgres.pid() is None
        os.truncate(postgres.log, LOG_BYTES_MAX + 1)
        postgres.start()
        assert postgres.log.stat().st_size < LOG_BYTES_MAX
        assert postgres.log.with_suffix(".log.old").stat().st_size == LOG_BYTES_MAX + 1
        pid = postgres.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while postgres.pid() is not None:
            time.sleep(0.01)
        postgres.start()
        with psycopg.connect(postgres.url) as conn:
            assert conn.execute("select count(*) from kept").fetchone() == (0,)
    finally:
        postgres.stop()


def test_a_kafka_left_over_from_a_killed_parent_is_replaced(tmp_path):
    kafka = kafka_in(tmp_path / "kafka")
    kafka.start()
    try:
        assert kafka.folder.stat().st_mode & 0o777 == 0o700  # its log tells of everybody's work
        orphan = kafka.process()
        kafka.start()
        assert orphan is not None
        assert not orphan.is_running()
        kafka.stop(signal.SIGKILL)
        assert kafka.process() is None
        kafka.start()
        assert kafka.process() is not None
    finally:
        kafka.stop()
    assert kafka.process() is None


def test_a_kafka_that_does_not_start_says_why(tmp_path):
    kafka = kafka_in(tmp_path / "kafka")
    kafka.folder.mkdir()
    kafka.log.touch()
    os.truncate(kafka.log, LOG_BYTES_MAX + 1)
    with (
        socket.create_server(("127.0.0.1", kafka.port)),
        pytest.raises(KafkaFailed, match="BindException"),
    ):
        kafka.start()
    assert kafka.log.stat().st_size < LOG_BYTES_MAX
    assert kafka.log.with_suffix(".log.old").stat().st_size == LOG_BYTES_MAX + 1


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("[main] INFO kafka.Kafka - ended", ""),
        (
            "[main] ERROR kafka.Kafka - it fell\n[main] INFO kafka.Kafka - ended",
            ": [main] ERROR kafka.Kafka - it fell",
        ),
        (
            "[main] FATAL - it fell\na.b.CException: full (1)\n\tat a.b\n[main] INFO - ended",
            ": a.b.CException: full (1)",
        ),
        (
            "[main] INFO - later\na.b.CException: gone\n[main] ERROR - it fell",
            ": [main] ERROR - it fell",
        ),
        (
            "[main] ERROR - it fell\na.CException: why\nCaused by: b.DError: taken",
            ": Caused by: b.DError: taken",
        ),
    ],
)
def test_what_a_broker_that_ended_is_said_to_have_died_of(log, said):
    assert _last_error(log) == said


def test_a_process_id_that_is_another_process_by_now_is_nobody(tmp_path):
    postgres, kafka = postgres_in(tmp_path / "postgres"), kafka_in(tmp_path / "kafka")
    postgres.data.mkdir(parents=True)
    kafka.folder.mkdir()
    (postgres.data / "postmaster.pid").write_text(f"{os.getpid()}\n{postgres.data}\n")
    (kafka.folder / "kafka.pid").write_text(str(os.getpid()))
    assert postgres.pid() is None
    assert kafka.process() is None
    postgres.stop()
    kafka.stop()


def test_data_lies_in_its_folder_or_where_the_servers_user_can_reach_it(folder, monkeypatch):
    system = folder / "system"
    monkeypatch.setattr(embedded_postgres, "SYSTEM_FOLDER", system)
    home = folder / "home"
    home.mkdir()
    home.chmod(0o700)
    assert place(home) == home / "postgres"
    assert home.stat().st_mode & 0o777 == (0o711 if os.getuid() == 0 else 0o700)

    folder.chmod(0o700)
    home.chmod(0o700)
    found = place(home)
    assert home.stat().st_mode & 0o777 == 0o700
    if os.getuid() != 0:
        assert found == home / "postgres"
        return
    assert found.parent.parent == system
    assert found.parent.stat().st_mode & 0o777 == 0o711
    assert place(home) == find_place(home) == found
    (home / "postgres.place").unlink()
    again = place(home)
    assert again != found
    assert [path.name for path in system.iterdir()] == [again.parent.name]


def test_a_cluster_is_forgotten_for_its_own_data_folder_alone(folder, monkeypatch):
    system = folder / "system"
    monkeypatch.setattr(embedded_postgres, "SYSTEM_FOLDER", system)
    folder.chmod(0o700)
    homes = [folder / name for name in ("kept", "moved", "new")]
    for home in homes:
        home.mkdir()
    kept, moved = (place(home) for home in homes[:2])
    if os.getuid() != 0:
        assert not system.exists()
        return
    homes[1].rename(folder / "elsewhere")
    new = place(homes[2])
    assert find_place(folder / "elsewhere") == moved
    assert {*system.iterdir()} == {kept.parent, moved.parent, new.parent}
    forget_place(homes[2])
    assert {*system.iterdir()} == {kept.parent, moved.parent}


def test_to_look_for_what_was_left_makes_nothing(folder, monkeypatch):
    monkeypatch.setattr(embedded_postgres, "SYSTEM_FOLDER", folder / "system")
    folder.chmod(0o700)
    (folder / "home").mkdir()
    assert recover(folder / "home") == []
    assert [path.relative_to(folder) for path in folder.rglob("*")] == [Path("home")]
