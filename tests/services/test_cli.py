"""Calls that cannot be: each ends with a sentence that says what to do, and never a traceback."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
from urllib.parse import urlsplit

import psutil
import pytest
import typer
from typer.testing import CliRunner

from services import cli
from services.cli import _stop_owner, app, main
from services.machine.children import ServiceFailed
from services.machine.ownership import LOCK, Owner, read_owner

TOKEN = {"TURNSHEET_TOKEN": "tns_x"}
MONTH = "give one like 2026-07"
RATE = "give one like 9.00"
DAY = "give one like 2026-07-31"
NO_DATABASE = "postgresql://nobody@127.0.0.1:1/nothing"
BILL_RUN = ("bill", "run", "2026-07")
WRONG = [
    (("bill", "run", "2026-13"), {}, 2, MONTH),
    (("bill", "list", "--period", "July"), {}, 2, MONTH),
    (("bill", "issue", "--period", "2026-07", "--date", "soon"), {}, 2, DAY),
    (("bill", "run", "2026-07", "--firm", "a/b"), {}, 2, "an id is letters"),
    (("bill", "show", "a b"), {}, 2, "an id is letters"),
    (("rates", "set", "--country", "PH", "--rate", "9", "--from", "x"), {}, 2, DAY),
    (("terms", "set", "firm-1", "--from", "2026"), {}, 2, MONTH),
    (("rates", "set", "--country", "PH", "--rate", "abc", "--from", "2026-01-01"), {}, 2, RATE),
    (("bill", "approve", "run-1.a", "--period", "2026-07"), TOKEN, 2, "not both"),
    (
        ("bill", "issue", "run-1.a", "--period", "2026-07", "--date", "2026-08-01"),
        TOKEN,
        2,
        "not b",
    ),
    (("token", "create", "firm", "f-1", "--firm", "bad firm!", "--source", "x"), {}, 2, "an id is"),
    (("token", "create", "firm", "f-1", "--firm", "f-1", "--source", ""), {}, 2, "a source is"),
    (("metrics", "f", "--from", "2026-07-02", "--to", "2026-07-01"), TOKEN, 2, "is before --from"),
    (("metrics", "f", "--to", "0001-01-02"), TOKEN, 2, "is before or after all figures"),
    (("metrics", "f", "--to", "9999-12-31"), TOKEN, 2, "after all figures"),
    (("timesheet", "list", "f", "--from", "2026-07-01", "--to", "end"), {}, 2, DAY),
    (("metrics", "f", "--from", "foo"), {}, 2, DAY),
    (("scorecard", "f", "2026-W60"), {}, 2, "give one like 2026-W28"),
    (("simulate", "--start", "2026-7"), {}, 2, MONTH),
    (("simulate", "--out", "{file}/in/a/file"), {}, 1, "Not a directory"),
    (BILL_RUN, {}, 1, "run `turnsheet up`, which leaves one"),
    (BILL_RUN, {"TURNSHEET_TOKEN": "two words"}, 2, "a token is one word"),
    (("metrics", "f", "--token", "zwei\nZeilen"), {}, 2, "a token is one word"),
    (BILL_RUN, TOKEN | {"TURNSHEET_BILLING_URL": "nowhere"}, 2, "no address of billing"),
    (("metrics", "f", "--url", "nowhere"), TOKEN, 2, "no address of metrics"),
    (("send", "{file}", "--url", "nowhere"), TOKEN, 2, "no address of ingest"),
    (("send", "{file}", "--url", "http://127.0.0.1:abc"), TOKEN, 2, "no address of ingest"),
    (("rates", "list", "--url", "http://h:99999"), TOKEN, 2, "no address of billing"),
    (BILL_RUN, TOKEN | {"TURNSHEET_BILLING_URL": "http://127.0.0.1:1"}, 1, "`turnsheet status`"),
    (("migrate",), {"DATABASE_URL": "nowhere"}, 1, "give an address like postgresql://"),
    (("status",), {"TURNSHEET_HOME": "{file}"}, 1, "Not a directory"),
    (("status",), {"TURNSHEET_HOMES": "x"}, 1, "did you mean TURNSHEET_HOME?"),
    (("status",), {"TURNSHEET_INGEST_PORT": "x"}, 1, "TURNSHEET_INGEST_PORT: Input should be"),
    (("migrate",), {}, 1, "set DATABASE_URL and TURNSHEET_DATABASE_ROLE_PASSWORD, or run"),
    (("rebuild", "metrics"), {}, 1, "set DATABASE_URL and TURNSHEET_DATABASE_ROLE_PASSWORD"),
    (("rebuild", "ledger"), {}, 2, "'ledger' is not one of 'metrics', 'billing'"),
    (("fly",), {}, 2, "No such command 'fly'"),
    (
        ("migrate",),
        {"DATABASE_URL": NO_DATABASE, "TURNSHEET_DATABASE_ROLE_PASSWORD": "secret-of-the-test"},
        1,
        "error: the database does not answer: see `turnsheet doctor`",
    ),
]


@pytest.fixture
def turnsheet(monkeypatch, capsys, tmp_path):
    """Runs a command here as `main` does, in a world where nothing is set and nothing runs."""
    (tmp_path / "a-file").write_text("{}\n")
    for name in [name for name in os.environ if name.startswith("TURNSHEET_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("TURNSHEET_HOME", str(tmp_path / "home"))
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in signals}

    def run(words, more):
        for name, value in more.items():
            monkeypatch.setenv(name, value.format(file=tmp_path / "a-file"))
        given = [word.format(file=tmp_path / "a-file") for word in words]
        monkeypatch.setattr(sys, "argv", ["turnsheet", *given])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, " ".join(said.err.split())

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("words", "more", "code", "sentence"), WRONG)
def test_a_call_that_cannot_be_ends_with_what_to_do(turnsheet, words, more, code, sentence):
    ended, out, said = turnsheet(words, more)
    assert (ended, out, sentence in said) == (code, "", True), said
    assert "Traceback" not in said
    assert "unexpected" not in said


def test_a_fault_of_our_own_keeps_its_traceback(turnsheet, monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "app", lambda: dict[str, str]()["firm_id"])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, _, said = turnsheet((), {})
    [kept] = tmp_path.glob("turnsheet-error-*.txt")
    assert (code, said) == (1, f"error: unexpected KeyError: the details are in {kept}")
    assert "Traceback" in kept.read_text()


@pytest.mark.parametrize(
    ("words", "wrong", "sentence"),
    [
        (("migrate",), "password", "refuses the login: check DATABASE_URL"),
        (("migrate",), "name", "there is no database at {place}: make it, or check DATABASE_URL"),
        (("rebuild", "metrics"), "name", "there is no database at {place}: make it, or check"),
        (
            ("rebuild", "metrics"),
            "role password",
            "refuses the login: check TURNSHEET_DATABASE_ROLE_PASSWORD, or run `turnsheet migrate`",
        ),
    ],
)
def test_a_database_that_says_no_is_told_from_one_that_is_away(
    turnsheet, settings, words, wrong, sentence
):
    url = urlsplit(settings.database_url)
    if wrong == "password":
        url = url._replace(netloc=f"{url.username}:wrong@{url.hostname}:{url.port}")
    if wrong == "name":
        url = url._replace(path="/nothing")
    secret = settings.database_role_password.get_secret_value() + wrong.removesuffix("name")
    more = {"DATABASE_URL": url.geturl(), "TURNSHEET_DATABASE_ROLE_PASSWORD": secret}
    ended, _, said = turnsheet(words, more)
    sentence = sentence.format(place=f"{url.hostname}:{url.port}/nothing")
    assert (ended, sentence in said) == (1, True), said


@pytest.mark.parametrize(
    ("words", "file", "mend"),
    [
        (BILL_RUN, "tokens.json", "remove it: `turnsheet up` makes new ones"),
        (("up",), "servers.json", "put back a copy of it: it has the password of Postgres"),
        (("status",), "chosen.json", "put back a copy of it, or remove it"),
    ],
)
def test_a_damaged_file_of_the_data_folder_is_told(turnsheet, tmp_path, words, file, mend):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / file).touch()
    ended, _, said = turnsheet(words, {})
    assert (ended, f"error: {tmp_path / 'home' / file} is damaged: {mend}" in said) == (1, True), (
        said
    )


def test_up_under_nohup_does_not_hear_the_terminal_hang_up(turnsheet):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    nowhere = {"TURNSHEET_HOST": "192.0.2.7"}  # so that it ends before it starts anything
    assert turnsheet(("up",), nowhere)[0] == 1
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert turnsheet(("up",), nowhere)[0] == 1
    assert callable(signal.getsignal(signal.SIGHUP))


def test_down_makes_nothing_where_nothing_ran(turnsheet, tmp_path):
    (tmp_path / "home").mkdir()
    assert turnsheet(("down", "--json"), {}) == (0, '{"stopped": []}\n', "")
    assert list((tmp_path / "home").iterdir()) == []


def test_down_waits_for_another_that_is_at_it(turnsheet, tmp_path):
    (tmp_path / "home").mkdir()
    with (tmp_path / "home" / LOCK).open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        threading.Timer(0.1, fcntl.flock, (guard, fcntl.LOCK_UN)).start()
        assert turnsheet(("down", "--json"), {}) == (0, '{"stopped": []}\n', "")
    assert read_owner(tmp_path / "home") is None


def test_an_owner_that_has_gone_is_stopped_and_one_of_another_user_is_told(monkeypatch):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    _stop_owner(Owner(gone.pid, "", 0))

    def refuse(process):
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "terminate", refuse)
    with pytest.raises(ServiceFailed, match=f"process {os.getpid()} is another user's"):
        _stop_owner(Owner(os.getpid(), "", 0))


def test_a_command_does_not_wait_for_what_only_a_migration_needs():
    loaded = "import sys, services.cli; print(*{'alembic', 'sqlalchemy'} & {*sys.modules})"
    told = subprocess.check_output([sys.executable, "-c", loaded], text=True)
    assert told == "\n"


def commands(group, path=()):
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from commands(found, (*path, name))
        else:
            yield (*path, name), found


COMMANDS = dict(commands(typer.main.get_command(app)))
WITHOUT_JSON = {("demo",)}  # a story told to people


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_and_every_option_says_what_it_is_for(words):
    told = CliRunner().invoke(app, [*words, "--help"])
    assert told.exit_code == 0
    first = (COMMANDS[words].help or "").partition("\n")[0]
    assert 0 < len(first) <= 68, "the list of commands cuts what is longer"
    assert [p.name for p in COMMANDS[words].params if not getattr(p, "help", "")] == []


def test_every_command_answers_machines_too():
    spoken = {words for words, found in COMMANDS.items()
              if any("--json" in p.opts for p in found.params)}  # fmt: skip
    assert set(COMMANDS) - spoken == WITHOUT_JSON


OF_REST = ("bill", "rates", "terms", "timesheet", "metrics", "scorecard", "send", "import")


def test_every_command_that_speaks_to_a_service_takes_a_token_and_an_address():
    asked = {"--token", "--url"}
    given = {words for words, found in COMMANDS.items()
             if asked <= {name for p in found.params for name in p.opts}}  # fmt: skip
    assert given == {words for words in COMMANDS if words[0] in OF_REST}
