"""Settings: where a value comes from, and what is refused."""

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


def test_an_unknown_name_is_refused_by_name():
    with pytest.raises(SettingsRefused, match="TURNSHEET_PRODUCE_DEADLIN is no setting"):
        load({"TURNSHEET_PRODUCE_DEADLIN": "3"})


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
    shown = {row.name: row.value for row in describe(settings)}
    assert shown["TURNSHEET_TOKEN_PEPPER"] == "(set)"
    assert shown["DATABASE_URL"] == "…@db/turnsheet"


def test_every_setting_says_what_it_means():
    assert [f for f, info in Settings.model_fields.items() if not info.description] == []
    assert environment_name("home") == "TURNSHEET_HOME"


def test_what_up_chose_is_readable_by_its_owner_only(tmp_path):
    write_private(tmp_path / "home" / CHOSEN, {"ingest_port": 1})
    assert (tmp_path / "home" / CHOSEN).stat().st_mode & 0o777 == 0o600
