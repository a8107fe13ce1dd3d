"""Logs: one event a line, plain values, no secrets, no words of clients, no floods."""

import json
import logging
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest
import structlog

from services.logs import BLANK, LibraryHandler, set_up_logs


@pytest.fixture
def said(capsys):
    """Set the logs up as a service does; calling gives the events written so far."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    set_up_logs("json", "metrics")
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.basicConfig(handlers=handlers, level=level, force=True)


def without_time(event):
    datetime.fromisoformat(event.pop("timestamp"))
    return event


def test_an_event_is_one_line_with_its_ids_service_and_time(said):
    structlog.contextvars.bind_contextvars(request_id="r-1")
    structlog.get_logger().info("poll_applied", firm_id="f-1", records=3, seconds=0.25, late=False)
    assert [without_time(event) for event in said()] == [
        {
            "event": "poll_applied",
            "level": "info",
            "service": "metrics",
            "request_id": "r-1",
            "firm_id": "f-1",
            "records": 3,
            "seconds": 0.25,
            "late": False,
        }
    ]


def test_only_plain_values_get_through(said):
    structlog.get_logger().info(
        "seen",
        at=datetime(2026, 7, 1, tzinfo=UTC),
        id=UUID(int=1),
        amount=Decimal("1.50"),
        ids=["a", {"name": "Mary"}, 3],
        row={"name": "Mary"},
        raw_bytes=b"Mary",
        made=object(),
        none=None,
        long="x" * 400,
    )
    event = without_time(said()[0])
    assert event == {
        "event": "seen",
        "level": "info",
        "service": "metrics",
        "at": "2026-07-01 00:00:00+00:00",
        "id": "00000000-0000-0000-0000-000000000001",
        "amount": "1.50",
        "ids": ["a", "<dict>", 3],
        "row": "<dict>",
        "raw_bytes": "<bytes>",
        "made": "<object>",
        "none": None,
        "long": "x" * 300 + "…",
    }


@pytest.mark.parametrize(
    "key", ["Authorization", "token", "secret", "password", "pepper", "body", "data", "headers"]
)
def test_keys_that_carry_secrets_or_bodies_are_blanked(said, key):
    structlog.get_logger().info("seen", **{key: "canary"})
    assert said()[0][key] == BLANK


@pytest.mark.parametrize(
    "text",
    [
        "found tns_tracker_0123456789abcdef_canary0000 here",
        "cannot reach postgresql://owner:canary@127.0.0.1/db",
        "sent Bearer canary",
    ],
)
def test_secrets_inside_texts_are_blanked(said, text):
    structlog.get_logger().info("seen", words=text)
    structlog.get_logger().info("seen", ids=[text])
    logging.getLogger("aiohttp").error("%s", text)
    events = said()
    assert len(events) == 3
    assert "canary" not in str(events)
    assert str(events).count(BLANK) == 3


def test_an_exception_is_told_by_class_and_place_without_its_words(said):
    def save():
        try:
            int("canary-1")
        except ValueError as error:
            raise asyncpg.UniqueViolationError("Key (name)=(canary-2) already exists") from error

    try:
        save()
    except asyncpg.UniqueViolationError:
        structlog.get_logger().exception("save_failed")
    event = without_time(said()[0])
    assert "canary" not in str(event)
    assert (event["error"], event["cause"], event["sqlstate"]) == (
        "UniqueViolationError",
        "ValueError",
        "23505",
    )
    assert event["place"][-1].startswith("test_logs.py:")


def test_libraries_speak_through_the_same_door(said):
    logging.getLogger("aiokafka.consumer").warning("Topic %s is gone", "task-events")
    try:
        int("canary")
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling request from %s", "canary")
    stray = ValueError("canary")
    logging.getLogger("asyncio").error(f"Task failed\nfuture: {stray!r}", exc_info=stray)  # noqa: G004 (as asyncio does)
    logging.getLogger("aiokafka").info("chatter")
    spoken = [without_time(event) for event in said()]
    assert [(e["library"], e["level"], e["words"]) for e in spoken] == [
        ("aiokafka.consumer", "warning", "Topic task-events is gone"),
        ("aiohttp.server", "error", "Error handling request from %s"),
        ("asyncio", "error", "Task failed"),
    ]
    assert spoken[1]["error"] == "ValueError"
    assert "canary" not in str(spoken)


def test_a_library_that_repeats_itself_is_held_back_and_counted(said, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("services.logs.time.monotonic", lambda: clock[0])
    logger = logging.getLogger("aiokafka.conn")
    for attempt in range(100):
        logger.error("Unable to connect, attempt %s", attempt)
    logging.getLogger("aiokafka.client").error("Another matter")
    clock[0] += LibraryHandler.WINDOW_SECONDS
    logger.error("Unable to connect, attempt %s", 101)
    assert [(e["words"], e.get("held_back")) for e in said()] == [
        ("Unable to connect, attempt 0", None),
        ("Unable to connect, attempt 1", None),
        ("Unable to connect, attempt 2", None),
        ("Another matter", None),
        ("Unable to connect, attempt 101", 97),
    ]


def test_a_terminal_gets_lines_to_read(capsys):
    set_up_logs("console", "billing")
    structlog.get_logger().info("month_run", firms=3)
    line = capsys.readouterr().err
    structlog.reset_defaults()
    logging.basicConfig(handlers=[], force=True)
    assert "month_run" in line
    assert "firms=3" in line
    assert "service=billing" in line
