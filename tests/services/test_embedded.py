"""The servers of one machine: found again, recovered after a kill, stopped by id."""

import signal

import psycopg

from services.embedded_kafka import new_kafka
from services.embedded_postgres import new_postgres


def test_postgres_is_made_once_and_recovers_from_an_immediate_stop(tmp_path):
    tmp_path.chmod(0o711)
    for folder in tmp_path.parents:
        if folder.name.startswith("pytest"):
            folder.chmod(0o711)
    postgres = new_postgres(tmp_path / "postgres")
    postgres.start()
    try:
        with psycopg.connect(postgres.url) as conn:
            conn.execute("create table kept (n int)")
        postgres.stop("immediate")
        assert postgres.pid() is None
        postgres.start()
        with psycopg.connect(postgres.url) as conn:
            assert conn.execute("select count(*) from kept").fetchone() == (0,)
    finally:
        postgres.stop()


def test_a_kafka_left_over_from_a_killed_parent_is_replaced(tmp_path):
    kafka = new_kafka(tmp_path / "kafka")
    kafka.start()
    try:
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
