"""The commands on real servers: tokens, files of events, and tools' exports."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
import pytest
import structlog
from aiohttp import web
from typer.testing import CliRunner

from services.ingest.cli import app
from services.ingest.cli.delivery import Undelivered, deliver, open_session
from services.refusals import Refused
from tests.ingest.conftest import event, raw
from tests.ingest.exports import RULES, TOGGL, file_of, toggl
from tests.strangers import stranger


@pytest.fixture
def command(door):
    """Run a command against the running door, with settings of its own environment."""
    # The door logs beside us: what it says must not land in the command's output.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings = door.settings
    environment = {
        "DATABASE_URL": settings.database_url,
        "TURNSHEET_HOME": str(settings.home),
        "TURNSHEET_TOKEN_PEPPER": settings.token_pepper.get_secret_value(),
        "TURNSHEET_DATABASE_ROLE_PASSWORD": settings.database_role_password.get_secret_value(),
    }

    async def run(*arguments, token=""):
        given = environment | ({"TURNSHEET_TOKEN": token} if token else {})
        return await asyncio.to_thread(CliRunner().invoke, app, [*map(str, arguments)], env=given)

    yield run
    structlog.reset_defaults()


async def test_a_token_is_made_used_listed_and_revoked(door, command):
    made = await command(
        "token", "create", "tracker", "asst-1", "--firm", "f-1", "--placement", "p-1",
        "--source", "tracker/asst-1", "--json",
    )  # fmt: skip
    assert made.exit_code == 0, made.stderr
    token = json.loads(made.stdout)
    assert token["scopes"] == ["events:write"]
    assert (await door.post(token["token"], raw(event()))).status == 202
    [listed] = json.loads((await command("token", "list", "--json")).stdout)
    assert (listed["principal_id"], listed["firms"]) == ("tracker:asst-1", ["f-1"])
    table = (await command("token", "list")).stdout
    assert token["token_id"] in table
    assert token["token"] not in table
    assert (await command("token", "revoke", token["token_id"])).exit_code == 0
    assert (await door.post(token["token"], raw(event()))).status == 401
    again = await command("token", "revoke", token["token_id"])
    assert (again.exit_code, "no live token" in again.stderr) == (1, True)
    assert "revoked" in (await command("token", "list")).stdout


async def test_a_person_ends_with_all_tokens_at_once(door, command):
    texts = [await door.token() for _ in range(2)]
    other = await door.token(principal_id="tracker:two")
    ended = await command("token", "revoke", "--principal", "tracker:one", "--json")
    assert ended.exit_code == 0, ended.stderr
    assert json.loads(ended.stdout) == {"revoked": sorted(text.split("_")[2] for text in texts)}
    assert [(await door.post(text, raw(event()))).status for text in texts] == [401, 401]
    assert (await door.post(other, raw(event()))).status == 202
    again = await command("token", "revoke", "--principal", "tracker:one")
    assert (again.exit_code, "no live token" in again.stderr) == (1, True)


async def test_a_new_tokens_text_is_alone_on_the_output(door, command):
    made = await command("token", "create", "admin", "ann", "--days", "1")
    assert made.stdout.startswith("tns_admin_")
    assert len(made.stdout.split()) == 1
    directory = event("d-1", "assistant.registered")
    directory["data"] = {"assistant_id": "asst-1", "home_country": "PH"}
    assert (await door.post(made.stdout.strip(), raw(directory))).status == 202


WRONG_CALLS = [
    ("token", "create", "wizard", "w"),
    ("token", "create", "tracker", "asst-1", "--firm", "f-1"),
    ("token", "create", "admin", "ann", "--scope", "everything"),
    ("token", "create", "admin", "ann", "--days", "0"),
    ("token", "revoke"),
    ("token", "revoke", "0123456789abcdef", "--principal", "tracker:one"),
    ("send", "nowhere.ndjson"),
    ("import", "nowhere.csv", "--format", "toggl", "--timezone", "UTC", "--map", "no.toml"),
]


async def test_a_wrong_call_ends_with_2(command):
    ends = [await command(*arguments) for arguments in WRONG_CALLS]
    assert [end.exit_code for end in ends] == [2] * len(WRONG_CALLS)


async def test_a_file_is_sent_and_its_refused_lines_are_told(door, command, tmp_path):
    file = tmp_path / "events.ndjson"
    lines = [json.dumps(event(f"a-{n}")).encode() for n in range(2_500)]
    lines[1_200] = b"{"
    lines[2_000] = json.dumps(event("x", firm_id="f-2")).encode()
    file.write_bytes(b"\n".join(lines) + b"\n\n")
    token = await door.token()
    sent = await command("send", file, "--url", door.url, "--json", token=token)
    report = json.loads(sent.stdout)
    assert (sent.exit_code, report["accepted"], report["rejected"]) == (1, 2_498, 2)
    assert [(r["line"], r["code"]) for r in report["rejections"]] == [
        (1_201, "bad_json"),
        (2_001, "not_bound"),
    ]
    kept = [record.value for record in await door.records("task-events")]
    assert kept == lines[:1_200] + lines[1_201:2_000] + lines[2_001:]
    told = await command("send", file, "--url", door.url, "--token", token)
    assert (told.exit_code, "2001" in told.stderr) == (1, True)
    assert "2498 accepted, 2 rejected" in told.stdout


async def test_a_good_file_ends_with_0(door, command, tmp_path):
    file = tmp_path / "events.ndjson"
    file.write_text(json.dumps(event()))
    sent = await command("send", file, "--url", door.url, token=await door.token())
    assert (sent.exit_code, "1 accepted, 0 rejected" in sent.stdout) == (0, True)


async def test_a_refused_token_says_so_and_from_which_line(door, command, tmp_path):
    file = tmp_path / "events.ndjson"
    file.write_text("\n" + json.dumps(event()))
    sent = await command("send", file, "--url", door.url, "--token", "tns_nonsense")
    said = " ".join(sent.stderr.split())
    assert (sent.exit_code, "line 2 and later: 401" in said) == (1, True)
    assert said.endswith("see `turnsheet token create`")


async def test_without_any_token_the_command_says_what_to_do(door, command, tmp_path):
    file = tmp_path / "events.ndjson"
    file.write_text(json.dumps(event()))
    sent = await command("send", file, "--url", door.url)
    assert isinstance(sent.exception, Refused)  # which the root of the commands tells in words
    assert "TURNSHEET_TOKEN" in str(sent.exception)


async def bring(command, door, tmp_path, *rows, rules=RULES, more=()):
    (tmp_path / "export.csv").write_bytes(file_of(TOGGL, *rows))
    (tmp_path / "rules.toml").write_text(rules)
    return await command(
        "import", tmp_path / "export.csv", "--format", "toggl", "--timezone", "Asia/Manila",
        "--map", tmp_path / "rules.toml", "--url", door.url, *more, token=await door.admin(),
    )  # fmt: skip


async def test_an_export_is_imported_once(door, command, tmp_path):
    rows = [toggl(), toggl(project="Mail")]
    dry = await bring(command, door, tmp_path, *rows, more=["--dry-run"])
    assert (dry.exit_code, await door.log_is_empty()) == (0, True)
    assert "2 rows: 2 would be accepted, 0 already known, 0 refused" in dry.stdout
    first = await bring(command, door, tmp_path, *rows, more=["--json"])
    assert (first.exit_code, json.loads(first.stdout)["accepted"]) == (0, 2)
    again = await bring(command, door, tmp_path, *rows)
    assert (again.exit_code, "0 accepted, 2 already known" in again.stdout) == (0, True)
    other = await bring(command, door, tmp_path, rows[0])
    assert (other.exit_code, "2026-07-01 of this person" in other.stderr) == (1, True)
    assert len(await door.records("time-events")) == 2


async def test_rows_without_a_rule_are_listed_with_the_words_that_need_one(door, command, tmp_path):
    brought = await bring(command, door, tmp_path, toggl(), toggl(project="Golf"))
    assert brought.exit_code == 1
    assert "need a rule" in brought.stderr
    assert "Golf" in brought.stderr
    assert "Golf" not in brought.stdout


async def test_rules_that_cannot_be_read_are_a_wrong_call(door, command, tmp_path):
    for rules in ("[[rule]\n", '[[rule]]\ntask_type = "advice"\n', '[[rules]]\nuser = "x"\n'):
        brought = await bring(command, door, tmp_path, toggl(), rules=rules)
        assert (brought.exit_code, "rules.toml" in brought.stderr) == (2, True), rules


async def test_a_broken_export_is_one_sentence(door, command, tmp_path):
    brought = await bring(command, door, tmp_path, '"never closed')
    assert (brought.exit_code, "bad_csv" in brought.stderr) == (1, True)


@asynccontextmanager
async def held_after_an_answer(url):
    """Pass on what is sent to a door until it has answered once; say where, and when more came."""
    answered, more, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def forth(reader, writer):
        while raw := await reader.read(65_536):
            if answered.is_set():
                more.set()
            else:
                writer.write(raw)
        writer.close()

    async def back(reader, writer):
        while raw := await reader.read(65_536):
            answered.set()
            writer.write(raw)

    async def relay(reader, writer):
        here = urlsplit(url)
        there = await asyncio.open_connection(here.hostname, here.port)
        await asyncio.gather(forth(reader, there[1]), back(there[0], writer))
        writer.close()
        await asyncio.gather(writer.wait_closed(), there[1].wait_closed())
        ended.set()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", more
        await ended.wait()


async def test_a_sending_that_is_interrupted_says_how_far_it_came(door, tmp_path):
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join(json.dumps(event(f"a-{n}")) for n in range(1_500)))
    async with held_after_an_answer(door.url) as (url, more):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from services.cli import main; main()", "send", file,
            "--url", url, stdout=PIPE, stderr=PIPE,
            env={**os.environ, "TURNSHEET_TOKEN": await door.token(),
                 "TURNSHEET_HOME": str(door.settings.home)},
        )  # fmt: skip
        await more.wait()
        process.send_signal(signal.SIGTERM)  # as Ctrl-C, which whoever runs us may ignore
        out, err = await process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert err.decode().splitlines() == [
        "1000 accepted so far; sending the file again is harmless",
        "error: interrupted",
    ]


@pytest.fixture
def strangers():
    """Two servers that are not ours."""
    with stranger() as one, stranger() as other:
        yield one, other


async def posted(url, **more):
    async with open_session("a-token") as http:
        return await deliver(http, url, b"x", "text/plain", has="results", **more)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_events_and_their_token_follow_no_redirect(strangers, status):
    here, elsewhere = strangers
    here.status, here.headers = status, {"Location": elsewhere.url}
    with pytest.raises(Undelivered, match=f"is not ingest: it answers {status}"):
        await posted(here.url)
    assert (here.heard, elsewhere.heard) == ([("/", "Bearer a-token")], [])


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<h1>It works!</h1>"), (200, b"{}"), (202, b"[]"), (404, b"no")]
)
async def test_an_answer_that_is_not_ingests_ends_a_delivery_at_once(strangers, status, body):
    here, _ = strangers
    here.status, here.body = status, body
    with pytest.raises(Undelivered, match="is not ingest"):
        await posted(here.url)
    assert len(here.heard) == 1


async def test_an_address_that_can_never_work_ends_a_delivery_at_once(strangers):
    here, _ = strangers
    told: list[str] = []
    for url in (here.url.replace("http:", "https:"), "http://127.0.0.1:abc", "http://h:99999"):
        with pytest.raises(Undelivered, match=f"{url} cannot be called"):
            await posted(url, tell=told.append)
    assert (told, here.heard) == ([], [])


async def test_what_was_not_answered_is_posted_again_with_the_same_bytes():
    bodies: list[bytes] = []
    told: list[str] = []

    async def shaky(request):
        bodies.append(await request.read())
        if len(bodies) == 1:
            return web.Response(status=503, headers={"Retry-After": "0"})
        if len(bodies) == 2:
            request.transport.abort()  # the answer is lost on its way
        if len(bodies) == 3:
            return web.Response(status=429, headers={"Retry-After": "0"})
        return web.json_response({"accepted": 1}, status=202)

    application = web.Application()
    application.router.add_post("/", shaky)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession() as http:
            url = f"http://127.0.0.1:{port}/"
            answer = await deliver(http, url, b"x", "text/plain", has="accepted", tell=told.append)
            assert (answer, bodies) == ((202, {"accepted": 1}), [b"x"] * 4)
            assert told == [f"no answer from {url} (status 503): trying again for 120 s"]
            bodies.clear()
            with pytest.raises(Undelivered):
                await deliver(http, url, b"x", "text/plain", has="accepted", patience_seconds=0)
    finally:
        await runner.cleanup()
