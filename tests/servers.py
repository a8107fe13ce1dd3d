"""The real servers of a test run: one Postgres and one Kafka, started once, stopped at its end."""

import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from services.embedded_kafka import EmbeddedKafka, new_kafka
from services.embedded_postgres import EmbeddedPostgres, new_postgres
from services.migrations import migrate
from services.settings import Settings

TEMPLATE = "template_migrated"
VARIABLE = "TESTS_OF_TURNSHEET_SERVERS"  # how the workers hear where the servers are
ROLE_PASSWORD = "role-password-of-the-tests"


class Servers:
    """A Postgres with a migrated template database, and a Kafka, in a folder of their own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="turnsheet-tests-"))
        self.folder.chmod(0o711)  # Postgres may run as another user
        self.postgres: EmbeddedPostgres = new_postgres(self.folder / "postgres")
        self.kafka: EmbeddedKafka = new_kafka(self.folder / "kafka")

    def start(self) -> None:
        with ThreadPoolExecutor() as pool:
            for started in [pool.submit(self._start_postgres), pool.submit(self.kafka.start)]:
                started.result()
        os.environ[VARIABLE] = json.dumps(
            {"postgres": self.postgres.url, "kafka": self.kafka.bootstrap_servers}
        )

    def stop(self) -> None:
        self.kafka.stop()
        self.postgres.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_postgres(self) -> None:
        self.postgres.start()
        with psycopg.connect(self.postgres.url, autocommit=True) as conn:
            conn.execute(f"create database {TEMPLATE}")  # type: ignore[call-overload]  # a constant
            conn.execute("alter system set fsync = off")  # type: ignore[call-overload]
            conn.execute("select pg_reload_conf()")
        migrate(
            Settings(
                database_url=self.postgres.url.rpartition("/")[0] + f"/{TEMPLATE}",
                database_role_password=ROLE_PASSWORD,
            )
        )


def addresses() -> dict[str, str]:
    """Return where the servers of this run are: `postgres` (as owner) and `kafka`."""
    found: dict[str, str] = json.loads(os.environ[VARIABLE])
    return found
