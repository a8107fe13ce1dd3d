"""The client of the commands: who gets the token, and what it makes of strangers' answers."""

import asyncio
import socket
from contextlib import ExitStack

import pytest

from services import client
from services.client import CalledWrongly, CallRefused, Service
from services.settings import Settings
from tests.strangers import stranger

JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html"}


@pytest.fixture
def strangers():
    """Two servers that are not ours."""
    with ExitStack() as opened:
        yield opened.enter_context(stranger()), opened.enter_context(stranger())


def billing_at(url):
    return Service(Settings(), "billing", "a-token", url)


def test_a_token_goes_to_no_proxy(strangers, monkeypatch, unused_tcp_port):
    proxy, _ = strangers
    monkeypatch.setenv("http_proxy", proxy.url)
    nobody = billing_at(f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(CallRefused, match="no answer from billing"):
        nobody.call("GET", "/v1/rate-cards")
    assert proxy.heard == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_token_follows_no_redirect(strangers, status):
    here, elsewhere = strangers
    here.status, here.headers = status, {"Location": f"{elsewhere.url}/v1/rate-cards"}
    with pytest.raises(CallRefused, match=f"is not billing: it answers {status}"):
        billing_at(here.url).call("GET", "/v1/rate-cards")
    assert (here.heard, elsewhere.heard) == ([("/v1/rate-cards", "Bearer a-token")], [])


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, HTML, b"<h1>It works!</h1>"),
        (200, JSON, b"<h1>It works!</h1>"),
        (200, JSON, b"{}"),
        (200, JSON, b"[]"),
        (200, JSON, b'{"rates": '),
        (200, JSON, b"\xff"),
        (204, {}, b""),
        (404, HTML, b"<h1>Not Found</h1>"),
        (401, JSON, b'{"message": "who are you?"}'),
        (422, JSON, b'{"title": "x", "errors": [null]}'),
        (422, JSON, b'{"title": "x", "errors": 7}'),
        (500, JSON, b"[]"),
        (500, {}, b"\xff"),
    ],
)
def test_a_stranger_is_told_as_one(strangers, status, headers, body):
    here, _ = strangers
    here.status, here.headers, here.body = status, headers, body
    with pytest.raises(CallRefused) as refused:
        billing_at(here.url).ask("GET", "/v1/rate-cards", has="rates")
    assert str(refused.value).startswith(f"what answers at {here.url} is not billing")


def test_half_an_answer_is_none(strangers):
    here, _ = strangers
    here.headers, here.body = JSON | {"Content-Length": "100"}, b'{"rates": []}'
    with pytest.raises(CallRefused, match="no answer from billing"):
        billing_at(here.url).ask("GET", "/v1/rate-cards", has="rates")


def test_where_no_https_is_spoken_no_secure_connection_is_told(strangers):
    here, _ = strangers
    with pytest.raises(CallRefused, match="no secure connection"):
        billing_at(here.url.replace("http:", "https:")).call("GET", "/v1/rate-cards")


def test_a_long_silence_is_told_once(monkeypatch, capsys):
    monkeypatch.setattr(client, "SILENT_SECONDS", 0.02)
    monkeypatch.setattr(client, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        service = billing_at(f"http://127.0.0.1:{silent.getsockname()[1]}")
        for _ in range(2):
            with pytest.raises(CallRefused, match="no answer from billing"):
                service.call("GET", "/v1/rate-cards")
    told = f"no answer from {service.base} yet: waiting for up to 0 s\n"
    assert capsys.readouterr().err == told


async def test_what_is_no_http_is_a_stranger_too(unused_tcp_port):
    async def speak(_, writer):
        writer.write(b"220 mail.test ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", unused_tcp_port):
        service = billing_at(f"http://127.0.0.1:{unused_tcp_port}")
        with pytest.raises(CallRefused, match="is not billing"):
            await asyncio.to_thread(service.call, "GET", "/v1/rate-cards")


@pytest.mark.parametrize(
    "url",
    [
        "nowhere",
        "ftp://h",
        "http://127.0.0.1:abc",
        "http://h:99999",
        "http://[::1",
        "http://h/\u00fc",
    ],
)
def test_an_address_that_cannot_be_is_called_wrongly(url):
    with pytest.raises(CalledWrongly, match="is no address of billing"):
        billing_at(url).call("GET", "/v1/rate-cards")
