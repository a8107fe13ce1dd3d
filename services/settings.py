"""Settings: from the environment, else what `up` wrote into the data folder, else defaults."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "TURNSHEET_"
CHOSEN = "chosen.json"  # in the data folder: addresses, ports and secrets that `up` chose


class SettingsRefused(Exception):
    """A setting is unknown or has a value that cannot be used; the message names it."""


class Settings(BaseSettings):
    """Every setting, by its name in the environment: `TURNSHEET_` and the field in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", populate_by_name=True)

    database_url: str = Field(
        "",
        validation_alias=AliasChoices("DATABASE_URL", "database_url"),
        description="Postgres 15 or later, as its owner; empty: turnsheet runs its own.",
    )
    kafka_bootstrap_servers: str = Field(
        "",
        validation_alias=AliasChoices("KAFKA_BOOTSTRAP_SERVERS", "kafka_bootstrap_servers"),
        description="Kafka 3.7 or later, host:port[,host:port]; empty: turnsheet runs its own.",
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
        10_485_760, ge=4096, description="Bytes set aside for each index file of a topic."
    )
    produce_deadline_seconds: float = Field(
        5.0, gt=0, le=12, description="How long ingest waits for Kafka before it answers 503."
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

    def topic(self, name: str) -> str:
        """Name a topic as this installation does."""
        return f"{self.topic_prefix}{name}"

    def url(self, house: str) -> str:
        """Give the address of a house's API."""
        return f"http://{self.host}:{getattr(self, f'{house}_port')}"

    def ops_url(self, house: str) -> str:
        """Give the address of a house's health and counters."""
        return f"http://{self.host}:{getattr(self, f'{house}_ops_port')}"


def environment_name(field: str) -> str:
    """Name the environment variable of a field."""
    return (
        field.upper()
        if field in {"database_url", "kafka_bootstrap_servers"}
        else PREFIX + field.upper()
    )


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Raises `SettingsRefused`."""
    environment = os.environ if environment is None else environment
    known = {environment_name(field) for field in Settings.model_fields}
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            raise SettingsRefused(f"{name} is no setting of turnsheet: see `turnsheet doctor`")
    values: dict[str, Any] = read_chosen(Path(environment.get(f"{PREFIX}HOME", ".turnsheet")))
    for field in Settings.model_fields:
        if (text := environment.get(environment_name(field))) is not None:
            values[field] = text
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = str(first["loc"][0])
        name = field if field.isupper() else environment_name(field)
        raise SettingsRefused(f"{name}: {first['msg']}") from None


def read_chosen(home: Path) -> dict[str, Any]:
    """Read what `up` wrote into a data folder: fields and their values; empty before the first."""
    try:
        chosen = json.loads((home / CHOSEN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {name: value for name, value in chosen.items() if name in Settings.model_fields}


def write_private(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON that only its owner can read, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(values, file, indent=2)
    partial.replace(path)


class Described(NamedTuple):
    """A setting as `doctor` shows it."""

    name: str
    value: str
    origin: Literal["environment", "data folder", "default"]
    meaning: str


def describe(settings: Settings) -> list[Described]:
    """List every setting with its value, where that comes from, and its meaning; secrets masked."""
    chosen = read_chosen(settings.home)
    rows = []
    for field, info in Settings.model_fields.items():
        value = getattr(settings, field)
        text = (
            ("(set)" if value.get_secret_value() else "")
            if isinstance(value, SecretStr)
            else str(value)
        )
        if field == "database_url" and "@" in text:
            text = f"…@{text.rpartition('@')[2]}"
        name = environment_name(field)
        origin: Literal["environment", "data folder", "default"] = "default"
        if name in os.environ:
            origin = "environment"
        elif field in chosen:
            origin = "data folder"
        rows.append(Described(name, text, origin, info.description or ""))
    return rows
