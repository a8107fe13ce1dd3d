"""`turnsheet doctor`: every part is looked at, and what is wrong comes with what to do."""

import json
from urllib.parse import urlsplit

import pytest

from services.machine.children import SERVICES
from services.machine.doctor import _postgres, examine, report
from services.machine.installation import running
from services.settings import Settings, environment_name


def found(findings):
    return {finding.part: (finding.state, finding.mend) for finding in findings}


def test_before_the_first_start_each_part_says_how_to_start_it(tmp_path):
    settings, findings = examine({"TURNSHEET_HOME": str(tmp_path / "home")})
    states = found(findings)
    assert states["data folder"] == (
        f"{tmp_path / 'home'} is not made yet",
        "run `turnsheet up`",
    )
    assert states["postgres"] == states["kafka"] == ("not started yet", "run `turnsheet up`")
    assert states["owner"] == ("nobody", "run `turnsheet up`")
    assert states["java"][1] == states["kafka jars"][1] == states["python"][1] == ""
    listed = report(settings, findings)["settings"]
    assert [row["name"] for row in listed] == [environment_name(f) for f in Settings.model_fields]
    json.dumps(listed)


def test_a_name_that_is_no_setting_is_a_finding(tmp_path):
    _, findings = examine({"TURNSHEET_HOME": str(tmp_path), "TURNSHEET_HOTS": "x"})
    assert found(findings)["settings"] == (
        "TURNSHEET_HOTS",
        "TURNSHEET_HOTS is no setting of turnsheet: did you mean TURNSHEET_HOST?",
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://owner:s3cret@127.0.0.1:1/turnsheet",
        "postgresql://127.0.0.1:1/turnsheet?user=owner&password=s3cret",
    ],
)
def test_servers_that_do_not_answer_are_found_without_a_secret(tmp_path, url):
    environment = {
        "TURNSHEET_HOME": str(tmp_path),
        "DATABASE_URL": url,
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    settings, findings = examine(environment)
    states = found(findings)
    assert states["postgres"] == (
        "no answer at 127.0.0.1:1/turnsheet",
        "run `turnsheet up`, or check DATABASE_URL",
    )
    assert states["kafka"] == (
        "Kafka at 127.0.0.1:1 does not answer",
        "run `turnsheet up`, or check KAFKA_BOOTSTRAP_SERVERS",
    )
    assert "java" not in states
    assert "s3cret" not in json.dumps(report(settings, findings))


def test_a_database_that_answers_and_says_no_is_found_as_that(tmp_path, database_url):
    url = urlsplit(database_url)
    place, at = f"{url.hostname}:{url.port}{url.path}", f"{url.hostname}:{url.port}"
    for asked, state, mend in [
        (
            url._replace(netloc=f"{url.username}:s3cret@{at}"),
            f"{place} refuses the login",
            "check DATABASE_URL",
        ),
        (
            url._replace(path="/nothing"),
            f"there is no database at {at}/nothing",
            "make it, or check DATABASE_URL",
        ),
    ]:
        settings = Settings(home=tmp_path, database_url=asked.geturl())
        assert _postgres(settings) == ("postgres", state, mend)


def test_what_runs_is_well_and_an_open_secret_is_not(settings):
    with running(settings, lambda _: None, pytest.fail) as installation:
        environment = {
            "TURNSHEET_HOME": str(settings.home),
            "TURNSHEET_TOPIC_PREFIX": settings.topic_prefix,
        }
        _, findings = examine(environment)
        assert [finding for finding in findings if finding.mend] == []
        states = found(findings)
        assert states["kafka"][0].startswith("a record was produced and read back at")
        assert {states[name] for name in SERVICES} == {("ready", "")}
        tokens = installation.settings.home / "tokens.json"
        tokens.chmod(0o644)
        _, findings = examine(environment)
        assert [finding for finding in findings if finding.mend] == [
            ("data folder", f"{tokens} is open to others", "chmod 600 it")
        ]


def test_a_folder_that_others_can_look_into_is_told(tmp_path):
    environment = {"TURNSHEET_HOME": str(tmp_path)}
    tmp_path.chmod(0o711)  # as it is where root's Postgres runs as another user
    for name, mode in (("kafka", 0o700), ("logs", 0o711)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    told = {f.part: f for f in examine(environment)[1]}["data folder"]
    assert told == ("data folder", f"{tmp_path / 'logs'} is open to others", "chmod 700 it")
    tmp_path.chmod(0o755)
    told = {f.part: f for f in examine(environment)[1]}["data folder"]
    assert told == ("data folder", f"{tmp_path} is open to others", "chmod 700 it")
