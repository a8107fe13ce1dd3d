"""Settings: from the environment, else what `up` wrote into the data folder, else defaults."""

import difflib
import json
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX: Final = "TURNSHEET_"
CHOSEN: Final = "chosen.json"  # in the data folder: addresses, ports and secrets that `up` chose
BARE: Final = frozenset({"database_url", "kafka_bootstrap_servers"})  # names without the prefix
DATABASE_FORM: Final = "give an address like postgresql://user:password@host:5432/name"
ENCODED: Final = "in a password each of : / ? # [ ] @ is percent-encoded"
SEE_DOCTOR: Final = "`turnsheet doctor` lists all there are."

Origin = Literal["environment", "data folder", "default"]


class SettingsRefused(Exception):
    """A setting is unknown or has a value that cannot be used; the message names it."""


class Settings(BaseSettings):
    """Every setting, by its name in the environment: `TURNSHEET_` and the field in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", populate_by_name=True
    )

    database_url: str = Field(
        "",
        repr=False,  # it may hold a password
        validation_alias=AliasChoices("DATABASE_URL", "database_url"),
        description="Postgres 15 or later, as its owner; empty: turnsheet runs its own.",
    )
    kafka_bootstrap_servers: str = Field(
        "",
        validation_alias=AliasChoices("KAFKA_BOOTSTRAP_SERVERS", "kafka_bootstrap_servers"),
        description="Kafka 3.7 or later, host:port[,host:port]; empty: turnsheet runs its own.",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How Kafka is spoken to: encrypted (SSL), as a user (SASL), both."
    )
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        "SCRAM-SHA-512", description="How the user proves itself to Kafka."
    )
    kafka_sasl_username: str = Field("", description="The user that Kafka knows this process as.")
    kafka_sasl_password: SecretStr = Field(SecretStr(""), description="That user's password.")
    kafka_ca_file: str = Field(
        "", description="PEM file of who vouches for Kafka's certificate; empty: the system's list."
    )
    home: Path = Field(Path(".turnsheet"), description="The data folder of what runs here.")
    host: str = Field("127.0.0.1", description="The address that the services listen on.")
    ingest_port: int = Field(8001, ge=0, le=65535, description="The port of ingest's API.")
    metrics_port: int = Field(8002, ge=0, le=65535, description="The port of metrics' API.")
    billing_port: int = Field(8003, ge=0, le=65535, description="The port of billing's API.")
    ingest_ops_port: int = Field(9001, ge=0, le=65535, description="Ingest's health and counters.")
    metrics_ops_port: int = Field(9002, ge=0, le=65535, description="Metrics' health and counters.")
    billing_ops_port: int = Field(
        9003, ge=0, le=65535, description="Billing's health and counters."
    )
    ingest_url: str = Field("", description="Where commands find ingest; empty: on this machine.")
    metrics_url: str = Field("", description="Where commands find metrics; empty: likewise.")
    billing_url: str = Field("", description="Where commands find billing; empty: likewise.")
    token_pepper: SecretStr = Field(
        SecretStr(""), description="The key under which tokens are stored; never change it."
    )
    database_role_password: SecretStr = Field(
        SecretStr(""), description="The password of the houses' database roles."
    )
    token: SecretStr = Field(SecretStr(""), description="The token that commands speak with.")
    topic_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,64}$", description="Put before every topic's name."
    )
    topic_partitions: int = Field(
        3, ge=1, le=48, description="Partitions of a topic that is created."
    )
    topic_replication: int = Field(1, ge=1, le=5, description="Copies of a topic that is created.")
    topic_index_bytes: int = Field(
        10_485_760,
        ge=4096,
        description="Bytes set aside for each index file of a topic; few make small segments.",
    )
    produce_deadline_seconds: float = Field(
        5.0, gt=0, le=12, description="How long ingest waits for Kafka before it answers 503."
    )
    consumer_session_seconds: float = Field(
        6.0, ge=1, le=60, description="How long a consumer that fell silent keeps its partitions."
    )
    log_level: Literal["debug", "info", "warning"] = Field(
        "info", description="The least that is logged; at debug libraries speak too."
    )
    log_format: Literal["json", "console"] = Field("json", description="How logs are written.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 (the signature is pydantic's)
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (likewise)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (likewise)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment; files are read by `load`, which knows the folder."""
        return init_settings, env_settings

    @field_validator("database_url")
    @classmethod
    def _names_a_database(cls, url: str) -> str:
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise ValueError(DATABASE_FORM)
        if not _is_whole(url):  # a part of a password would be taken for the host, and be shown
            raise ValueError(f"{DATABASE_FORM}; {ENCODED}")
        return url

    @model_validator(mode="after")
    def _kafka_can_be_reached_so(self) -> Self:
        """Refuse at once what would show only as "Kafka is not reached"."""
        protocol = self.kafka_security_protocol
        said = f"{environment_name('kafka_security_protocol')} is {protocol}"
        if protocol != "PLAINTEXT" and not self.kafka_bootstrap_servers:
            raise ValueError(
                f"{said}, but turnsheet's own Kafka is PLAINTEXT: name yours, in "
                f"{environment_name('kafka_bootstrap_servers')}"
            )
        if protocol.startswith("SASL"):
            for field in ("kafka_sasl_username", "kafka_sasl_password"):
                value = getattr(self, field)
                if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
                    raise ValueError(f"{said}: set {environment_name(field)}")
        if protocol.endswith("SSL") and self.kafka_ca_file:
            try:
                ssl.create_default_context(cafile=self.kafka_ca_file)
            except OSError as error:
                raise ValueError(
                    f"{environment_name('kafka_ca_file')}: {self.kafka_ca_file} "
                    f"cannot be used ({error.strerror or error})"
                ) from None
        return self

    def topic(self, name: str) -> str:
        """Name a topic as this installation does."""
        return f"{self.topic_prefix}{name}"

    def url(self, house: str) -> str:
        """Give the address of a house's API, as a client on this machine calls it."""
        given: str = getattr(self, f"{house}_url")
        return given.rstrip("/") or f"http://{self._reached_at}:{getattr(self, f'{house}_port')}"

    def ops_url(self, house: str) -> str:
        """Give the address of a house's health and counters."""
        return f"http://{self._reached_at}:{getattr(self, f'{house}_ops_port')}"

    @property
    def _reached_at(self) -> str:
        """A service that listens on every address is reached on the loopback one."""
        if self.host in {"", "0.0.0.0"}:  # noqa: S104 (compared)
            return "127.0.0.1"
        host = "::1" if self.host == "::" else self.host
        return f"[{host}]" if ":" in host else host


def _is_whole(url: str) -> bool:
    """Say whether a database's address comes apart at the right places."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    hosts = parts.netloc.rpartition("@")[2].split(",")
    return not parts.fragment and all(re.fullmatch(r"(\[.*\]|[^:]*)(:\d*)?", h) for h in hosts)


def without_login(url: str, *more: str) -> str:
    """Take user and password out of a database's address, and what else its query names so."""
    parts = urlsplit(url)
    left_out = {"user", "password", *more}
    kept = [p for p in parts.query.split("&") if unquote(p.partition("=")[0]) not in left_out]
    query = f"?{'&'.join(kept)}" if any(kept) else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"


def database_place(url: str) -> str:
    """Say where a database is, as people may read it."""
    return without_login(url, "sslpassword").partition("://")[2]


def environment_name(field: str) -> str:
    """Name the environment variable of a field."""
    return field.upper() if field in BARE else PREFIX + field.upper()


def load(environment: Mapping[str, str] | None = None, *, remembered: bool = True) -> Settings:
    """Read the settings. Raises `SettingsRefused`.

    `remembered`: what the environment does not name is taken from what `up` wrote into the data
    folder. The fields that are set in the result are those that one of the two gave.
    """
    environment = os.environ if environment is None else environment
    if strange := unknown_names(environment):
        raise SettingsRefused(next(iter(strange.values())))
    home = Path(environment.get(f"{PREFIX}HOME") or Settings.model_fields["home"].default)
    values: dict[str, Any] = read_chosen(home) if remembered else {}
    for field in Settings.model_fields:
        text = environment.get(environment_name(field), "")
        a_free_port = field.endswith("_port") and text == "0" and field in values
        if text and not a_free_port:  # which one is free was chosen by `up`
            values[field] = text
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        if not first["loc"]:  # of several settings together: the sentence names them
            raise SettingsRefused(first["msg"].removeprefix("Value error, ")) from None
        field = str(first["loc"][0]).lower()
        words = first["msg"].removeprefix("Value error, ")
        raise SettingsRefused(f"{environment_name(field)}: {words}") from None


def unknown_names(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the names that look like settings and are none, each with a sentence about it."""
    fields = {field.upper() for field in Settings.model_fields}
    found = {}
    for name in sorted(environment):
        if not name.startswith(PREFIX):
            continue
        bare = name.removeprefix(PREFIX)
        if bare not in fields or bare.lower() in BARE:
            close = difflib.get_close_matches(bare, fields, 1)
            hint = f"did you mean {environment_name(close[0].lower())}?" if close else SEE_DOCTOR
            found[name] = f"{name} is no setting of turnsheet: {hint}"
    return found


def read_chosen(home: Path) -> dict[str, Any]:
    """Read what `up` wrote into a data folder: fields and their values; empty before the first.

    Raises `SettingsRefused` when that is damaged.
    """
    chosen = read_private(
        home / CHOSEN,
        "put back a copy of it, or remove it: ports and secrets are then chosen anew, and the "
        "tokens made so far are taken no more",
    )
    return {name: value for name, value in chosen.items() if name in Settings.model_fields}


def read_private(path: Path, mend: str) -> dict[str, Any]:
    """Read what `write_private` wrote, empty where nothing was.

    Raises `SettingsRefused`, with what mends it, when the file is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SettingsRefused(f"{path} is damaged: {mend}")
    return found


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner can look into, and return it."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def write_private(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON that only its owner can read, in one step that a power cut does not undo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(values, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Described(NamedTuple):
    """A setting as `doctor` shows it."""

    name: str
    value: str
    origin: Origin
    meaning: str


def describe(settings: Settings, environment: Mapping[str, str] | None = None) -> list[Described]:
    """List every setting with its value, where that comes from, and its meaning; secrets masked."""
    environment = os.environ if environment is None else environment
    chosen = read_chosen(settings.home)
    rows = []
    for field, info in Settings.model_fields.items():
        name = environment_name(field)
        origin: Origin = "default"
        if environment.get(name):
            origin = "environment"
        elif field in chosen:
            origin = "data folder"
        shown = _masked(field, getattr(settings, field))
        rows.append(Described(name, shown, origin, info.description or ""))
    return rows


def _masked(field: str, value: object) -> str:
    if isinstance(value, SecretStr):
        return "(set)" if value.get_secret_value() else ""
    text = str(value)
    if field == "database_url" and not text.endswith(f"://{database_place(text)}"):
        return f"…@{database_place(text)}" if text else ""
    return text
