"""Logs on a terminal: whole lines, in order, with the part's name before them."""

import io
import json
import time

import pytest

from services.machine.stream import LogStream, render

STARTED = json.dumps(
    {"event": "service_started", "level": "info", "timestamp": "2026-07-01T12:31:39.5Z",
     "service": "ingest", "port": 8001, "house": "Möwe"},
    ensure_ascii=False,
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "line", "shown"),
    [
        ("ingest", STARTED, "ingest   │ 12:31:39 service_started port=8001 house=Möwe"),
        (
            "billing",
            '{"event": "run_failed", "level": "error", "timestamp": "2026-07-01T12:31:39Z"}',
            "billing  │ 12:31:39 error run_failed",
        ),
        ("metrics", "Traceback (most recent", "metrics  │ Traceback (most recent"),
        ("metrics", '{"event": "half', 'metrics  │ {"event": "half'),
        ("metrics", "7", "metrics  │ 7"),
        ("kafka", "[main] INFO kafka.Kafka - starting", None),
        ("kafka", "[main] WARN kafka.Kafka - slow", "kafka    │ [main] WARN kafka.Kafka - slow"),
        ("postgres", "LOG:  checkpoint complete", None),
        ("postgres", "FATAL:  out of files", "postgres │ FATAL:  out of files"),
    ],
)  # fmt: skip
def test_a_line_is_put_for_people(name, line, shown):
    assert render(name, line, colours=False) == shown


def test_colours_are_only_for_terminals():
    assert "\x1b[" not in (render("ingest", STARTED, colours=False) or "")
    assert (render("ingest", STARTED, colours=True) or "").startswith("\x1b[36mingest   │\x1b[0m")


def test_what_comes_is_followed_from_the_present_end_through_a_new_file(tmp_path):
    log, out = tmp_path / "metrics.log", io.StringIO()
    log.write_text("an old line\n")
    stream = LogStream({"metrics": log, "ingest": tmp_path / "ingest.log"}, out, colours=False)
    stream.start()
    with log.open("a") as file:
        file.write("first\nsec")
    await_words(out, "first")
    with log.open("a") as file:
        file.write("ond\n")
    await_words(out, "second")
    log.write_text("new\n")
    (tmp_path / "ingest.log").write_text("late\n")
    await_words(out, "late")
    stream.stop()
    assert sorted(out.getvalue().splitlines()) == [
        "ingest   │ late",
        "metrics  │ first",
        "metrics  │ new",
        "metrics  │ second",
    ]


class Closed(io.StringIO):
    def write(self, _):
        raise BrokenPipeError


def test_a_terminal_that_has_gone_and_a_log_that_goes_end_no_thread_with_an_error(tmp_path):
    log, gone = tmp_path / "metrics.log", tmp_path / "ingest.log"
    stream = LogStream({"ingest": gone, "metrics": log}, out := io.StringIO(), colours=False)
    gone.mkdir()  # it has a size, and cannot be read
    log.write_text("still told\n")
    stream.start()
    await_words(out, "still told")
    stream.stop()

    closed = LogStream({"metrics": log}, Closed(), colours=False)
    closed.start()
    log.write_text("once more than before\n")
    deadline = time.monotonic() + 10
    while closed._thread.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def await_words(out, words):
    deadline = time.monotonic() + 10
    while words not in out.getvalue():
        assert time.monotonic() < deadline
        time.sleep(0.02)
