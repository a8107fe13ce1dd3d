"""Brokers for tests that are more than one plain node: with users and rights, or three of them."""

import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from pydantic import SecretStr

from services.machine.embedded_kafka import EmbeddedKafka, find_java
from services.settings import Settings
from tests.servers import SESSION_MILLISECONDS, kafka_in, own_port

PASSWORDS: Final = {
    name: f"password-of-{name}" for name in ("admin", "ingest", "billing", "metrics")
}
_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"
_PLAIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"
_STORE: Final = "broker.p12"
_STORE_PASSWORD: Final = "password-of-the-store"


@dataclass(frozen=True)
class Guarded:
    """A broker that knows users (SCRAM) and asks what each may do, in the clear and encrypted."""

    kafka: EmbeddedKafka
    encrypted_servers: str
    ca_file: Path

    def settings(self, base: Settings, user: str) -> Settings:
        """Reach it as a user, with what belongs to the test."""
        return base.model_copy(
            update={
                "kafka_bootstrap_servers": self.kafka.bootstrap_servers,
                "kafka_security_protocol": "SASL_PLAINTEXT",
                "kafka_sasl_username": user,
                "kafka_sasl_password": SecretStr(PASSWORDS[user]),
            }
        )

    def encrypted(self, base: Settings, user: str) -> Settings:
        """Reach it as a user, encrypted."""
        return self.settings(base, user).model_copy(
            update={
                "kafka_bootstrap_servers": self.encrypted_servers,
                "kafka_security_protocol": "SASL_SSL",
                "kafka_ca_file": str(self.ca_file),
            }
        )


def new_guarded(folder: Path) -> Guarded:
    """Describe a guarded broker on ports of its own, its certificate made."""
    bare = kafka_in(folder)
    encrypted = f"127.0.0.1:{own_port()}"
    properties = {
        "listeners": f"SASL_PLAINTEXT://{bare.bootstrap_servers},SASL_SSL://{encrypted},"
        f"CONTROLLER://127.0.0.1:{bare.controller_port}",
        "advertised.listeners": f"SASL_PLAINTEXT://{bare.bootstrap_servers},SASL_SSL://{encrypted}",
        "listener.security.protocol.map": "SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,"
        "CONTROLLER:SASL_PLAINTEXT",
        "inter.broker.listener.name": "SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        **{
            f"listener.name.{listener}.scram-sha-512.sasl.jaas.config": f"{_SCRAM} required "
            f'username="admin" password="{PASSWORDS["admin"]}";'
            for listener in ("sasl_plaintext", "sasl_ssl")
        },
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": f"{_PLAIN} required "
        'username="controller" password="of-the-controller" '
        'user_controller="of-the-controller";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:admin;User:controller",
        "ssl.keystore.location": str(folder / _STORE),
        "ssl.keystore.password": _STORE_PASSWORD,
        "ssl.keystore.type": "PKCS12",
    }
    users = [
        f"--add-scram=SCRAM-SHA-512=[name={name},password={password}]"
        for name, password in PASSWORDS.items()
    ]
    kafka = EmbeddedKafka(
        bare.folder, bare.port, bare.controller_port, SESSION_MILLISECONDS, properties, users
    )
    return Guarded(kafka, encrypted, _make_certificate(folder))


def _make_certificate(folder: Path) -> Path:
    """Make the broker's key with the JRE's own tool; return the PEM file that vouches for it."""
    folder.mkdir(parents=True, exist_ok=True)
    keytool = Path(find_java()).resolve().with_name("keytool")
    store = ["-keystore", str(folder / _STORE), "-storepass", _STORE_PASSWORD, "-alias", "broker"]
    vouching = folder / "ca.pem"
    for arguments in (
        ["-genkeypair", "-storetype", "PKCS12", "-keyalg", "EC", "-validity", "2", "-dname",
         "CN=localhost", "-ext", "san=ip:127.0.0.1,dns:localhost", "-ext", "bc:c=ca:true"],
        ["-exportcert", "-rfc", "-file", str(vouching)],
    ):  # fmt: skip
        subprocess.run([keytool, *arguments, *store], check=True, capture_output=True)
    return vouching


@dataclass(frozen=True)
class Cluster:
    """Three nodes, each broker and controller in one; two of them are enough."""

    nodes: Mapping[int, EmbeddedKafka]

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of all nodes."""
        return ",".join(node.bootstrap_servers for node in self.nodes.values())

    def start(self) -> None:
        """Start the nodes that do not run, all at once: none listens before a majority is there."""
        idle = [node for node in self.nodes.values() if node.process() is None]
        with ThreadPoolExecutor() as pool:
            for started in [pool.submit(node.start) for node in idle]:
                started.result()

    def stop(self) -> None:
        """Kill all nodes."""
        for node in self.nodes.values():
            node.stop(signal.SIGKILL)


def new_cluster(folder: Path) -> Cluster:
    """Describe three nodes on ports of their own."""
    bare = {number: kafka_in(folder / str(number)) for number in (1, 2, 3)}
    voters = ",".join(f"{n}@127.0.0.1:{node.controller_port}" for n, node in bare.items())
    cluster_id = uuid4().hex[:22]
    shared = {
        "controller.quorum.voters": voters,
        "controller.quorum.election.timeout.ms": "500",
        "controller.quorum.fetch.timeout.ms": "1000",
        "offsets.topic.replication.factor": "3",
        "min.insync.replicas": "2",
    }
    return Cluster(
        {
            number: EmbeddedKafka(
                node.folder, node.port, node.controller_port, SESSION_MILLISECONDS,
                {**shared, "node.id": str(number)}, (), cluster_id,
            )
            for number, node in bare.items()
        }
    )  # fmt: skip


@contextmanager
def run(server: EmbeddedKafka | Cluster, folder: Path) -> Iterator[None]:
    """Run brokers for the length of a block and remove what they wrote."""
    try:
        server.start()
        yield
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
