"""Settings: where a value comes from, and what is refused."""

import os

import pytest

from services.settings import (
    CHOSEN,
    Settings,
    SettingsRefused,
    describe,
    environment_name,
    load,
    write_private,
)


def test_the_environment_wins_over_the_data_folder_and_that_over_defaults(tmp_path):
    write_private(tmp_path / CHOSEN, {"ingest_port": 18001, "metrics_port": 18002})
    environment = {"TURNSHEET_HOME": str(tmp_path), "TURNSHEET_INGEST_PORT": "28001"}
    found = load(environment)
    assert (found.ingest_port, found.metrics_port, found.billing_port) == (28001, 18002, 8003)


def test_what_up_chose_can_be_left_aside_and_what_is_given_is_known(tmp_path):
    write_private(tmp_path / CHOSEN, {"ingest_port": 18001, "kafka_bootstrap_servers": "here:9"})
    environment = {"TURNSHEET_HOME": str(tmp_path), "TURNSHEET_BILLING_PORT": "28003"}
    found = load(environment, remembered=False)
    assert (found.ingest_port, found.kafka_bootstrap_servers) == (8001, "")
    assert found.model_fields_set == {"home", "billing_port"}


def test_a_port_that_was_left_to_choose_is_the_chosen_one(tmp_path):
    environment = {"TURNSHEET_HOME": str(tmp_path), "TURNSHEET_INGEST_PORT": "0"}
    assert load(environment).ingest_port == 0
    write_private(tmp_path / CHOSEN, {"ingest_port": 18001})
    assert load(environment).ingest_port == 18001
    assert load(environment, remembered=False).ingest_port == 0


def test_an_empty_variable_is_no_value(tmp_path):
    write_private(tmp_path / CHOSEN, {"database_url": "postgresql://127.0.0.1/turnsheet"})
    found = load({"TURNSHEET_HOME": str(tmp_path), "DATABASE_URL": "", "TURNSHEET_INGEST_PORT": ""})
    assert (found.database_url, found.ingest_port) == ("postgresql://127.0.0.1/turnsheet", 8001)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TURNSHEET_PRODUCE_DEADLIN", "did you mean TURNSHEET_PRODUCE_DEADLINE_SECONDS?"),
        ("TURNSHEET_DATABASE_URL", "did you mean DATABASE_URL?"),
        ("TURNSHEET_XYZZY", "`turnsheet doctor` lists all there are."),
    ],
)
def test_an_unknown_name_is_refused_with_a_hint(name, hint):
    with pytest.raises(SettingsRefused) as refused:
        load({name: "3"})
    assert str(refused.value) == f"{name} is no setting of turnsheet: {hint}"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:8001"),
        ({"host": "0.0.0.0"}, "http://127.0.0.1:8001"),  # noqa: S104 (no socket is opened)
        ({"host": "::"}, "http://[::1]:8001"),
        ({"host": "10.1.2.3", "ingest_port": 81}, "http://10.1.2.3:81"),
        ({"host": "fd00::2", "ingest_port": 81}, "http://[fd00::2]:81"),
        ({"ingest_url": "https://turnsheet.example/"}, "https://turnsheet.example"),
    ],
)
def test_commands_know_where_a_house_is(given, url):
    assert Settings(**given).url("ingest") == url


def test_every_setting_is_listed_with_its_origin(tmp_path):
    write_private(tmp_path / CHOSEN, {"metrics_port": 18002})
    environment = {"TURNSHEET_HOME": str(tmp_path), "TURNSHEET_INGEST_PORT": "28001"}
    rows = {row.name: row for row in describe(load(environment), environment)}
    assert len(rows) == len(Settings.model_fields)
    assert {name: (row.value, row.origin) for name, row in rows.items() if "_PORT" in name} == {
        "TURNSHEET_INGEST_PORT": ("28001", "environment"),
        "TURNSHEET_METRICS_PORT": ("18002", "data folder"),
        "TURNSHEET_BILLING_PORT": ("8003", "default"),
        "TURNSHEET_INGEST_OPS_PORT": ("9001", "default"),
        "TURNSHEET_METRICS_OPS_PORT": ("9002", "default"),
        "TURNSHEET_BILLING_OPS_PORT": ("9003", "default"),
    }


@pytest.mark.parametrize(
    ("port", "accepted"), [("-1", False), ("0", True), ("65535", True), ("65536", False)]
)
def test_a_port_has_its_limits(port, accepted):
    environment = {"TURNSHEET_INGEST_PORT": port}
    if accepted:
        assert load(environment).ingest_port == int(port)
    else:
        with pytest.raises(SettingsRefused, match="TURNSHEET_INGEST_PORT"):
            load(environment)


def test_a_secret_is_never_shown(tmp_path):
    settings = Settings(
        home=tmp_path, token_pepper="s3cret", database_url="postgresql://me:s3cret@db/turnsheet"
    )
    shown = {row.name: row.value for row in describe(settings, {})}
    assert "s3cret" not in repr(settings)
    assert shown["TURNSHEET_TOKEN_PEPPER"] == "(set)"
    assert shown["DATABASE_URL"] == "…@db/turnsheet"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://127.0.0.1:1/x?user=me&password=s3cret", "…@127.0.0.1:1/x"),
        ("postgres://me:s3cret@db/x?p%61ssword=s3cret&sslmode=require", "…@db/x?sslmode=require"),
        ("", ""),
        ("postgresql://db/x?options=ops@firm", "postgresql://db/x?options=ops@firm"),
        ("postgresql://me:s3cret@db/x?sslpassword=s3cret&sslkey=k", "…@db/x?sslkey=k"),
        ("postgresql:///x?host=/run/postgresql&user=me", "…@/x?host=/run/postgresql"),
        ("postgresql://me:s3cret@[::1]:5432,db:5433", "…@[::1]:5432,db:5433"),
    ],
)
def test_a_databases_place_is_told_without_who_logs_in(tmp_path, url, told):
    settings = Settings(home=tmp_path, database_url=url)
    shown = {row.name: row.value for row in describe(settings, {})}
    assert shown["DATABASE_URL"] == told


@pytest.mark.parametrize("password", ["s3/cret", "s3?a=cret", "s3#cret", "s3[cret"])
def test_a_password_that_breaks_an_address_is_refused_and_not_told(password):
    with pytest.raises(SettingsRefused) as refused:
        load({"DATABASE_URL": f"postgresql://me:{password}@db/x"}, remembered=False)
    assert str(refused.value) == (
        "DATABASE_URL: give an address like postgresql://user:password@host:5432/name; in a "
        "password each of : / ? # [ ] @ is percent-encoded"
    )


def test_every_setting_says_what_it_means():
    assert [f for f, info in Settings.model_fields.items() if not info.description] == []
    assert environment_name("home") == "TURNSHEET_HOME"


def test_what_up_chose_is_readable_by_its_owner_only(tmp_path):
    write_private(tmp_path / "home" / CHOSEN, {"ingest_port": 1})
    assert (tmp_path / "home" / CHOSEN).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b'{"ingest_port": 1', b"[]", b"\xff\xfe"])
def test_a_damaged_data_folder_is_refused_with_what_to_do(tmp_path, content):
    (tmp_path / CHOSEN).write_bytes(content)
    with pytest.raises(SettingsRefused) as refused:
        load({"TURNSHEET_HOME": str(tmp_path)})
    assert str(refused.value).startswith(f"{tmp_path / CHOSEN} is damaged: put back a copy of it")


def test_what_is_written_outlives_a_power_cut(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    write_private(tmp_path / CHOSEN, {"token_pepper": "s3cret"})
    assert synced == [(tmp_path / CHOSEN).stat().st_ino, tmp_path.stat().st_ino]


SASL = {
    "KAFKA_BOOTSTRAP_SERVERS": "kafka:9093",
    "TURNSHEET_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "TURNSHEET_KAFKA_SASL_USERNAME": "ingest",
    "TURNSHEET_KAFKA_SASL_PASSWORD": "s3cret",
}


@pytest.mark.parametrize(
    ("without", "sentence"),
    [
        (
            "KAFKA_BOOTSTRAP_SERVERS",
            "but turnsheet's own Kafka is PLAINTEXT: name yours, in KAFKA_BOOTSTRAP_SERVERS",
        ),
        (
            "TURNSHEET_KAFKA_SASL_USERNAME",
            "set TURNSHEET_KAFKA_SASL_USERNAME",
        ),
        (
            "TURNSHEET_KAFKA_SASL_PASSWORD",
            "set TURNSHEET_KAFKA_SASL_PASSWORD",
        ),
    ],
)
def test_a_guarded_kafka_is_reached_with_all_that_it_asks_for(tmp_path, without, sentence):
    whole = {**SASL, "TURNSHEET_HOME": str(tmp_path)}
    assert load(whole).kafka_sasl_password.get_secret_value() == "s3cret"
    with pytest.raises(SettingsRefused) as refused:
        load({name: value for name, value in whole.items() if name != without})
    assert str(refused.value).startswith("TURNSHEET_KAFKA_SECURITY_PROTOCOL is SASL_SSL")
    assert str(refused.value).endswith(sentence)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_cannot_be_used_is_refused(tmp_path, content):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsRefused, match=f"TURNSHEET_KAFKA_CA_FILE: {file} cannot be used"):
        load({**SASL, "TURNSHEET_HOME": str(tmp_path), "TURNSHEET_KAFKA_CA_FILE": str(file)})


def test_the_password_of_kafka_is_never_shown(tmp_path):
    settings = load({**SASL, "TURNSHEET_HOME": str(tmp_path)})
    shown = {row.name: row.value for row in describe(settings, SASL)}
    assert shown["TURNSHEET_KAFKA_SASL_USERNAME"] == "ingest"
    assert shown["TURNSHEET_KAFKA_SASL_PASSWORD"] == "(set)"
    assert "s3cret" not in repr(settings)
