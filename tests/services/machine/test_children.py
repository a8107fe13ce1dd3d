"""Asking services whether they are ready."""

import threading
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.machine.children import PROBE_SECONDS, SERVICES, probe, probe_services
from services.settings import Settings


def test_a_silent_service_does_not_hold_up_the_question_to_the_others():
    """Each answers only when all have been asked: whoever asks one after the other hears none."""
    asked = threading.Barrier(len(SERVICES), timeout=PROBE_SECONDS / 2)
    with ExitStack() as stack:
        ports = {f"{name}_ops_port": stack.enter_context(answering(asked)) for name in SERVICES}
        assert probe_services(Settings.model_validate(ports)) == dict.fromkeys(SERVICES, "ready")


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_service_is_asked_without_a_proxy(monkeypatch, name):
    monkeypatch.setenv(name, "http://127.0.0.1:1")  # nobody listens there
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with answering(threading.Barrier(1)) as port:
        assert probe(f"http://127.0.0.1:{port}/readyz") == "ready"


@contextmanager
def answering(asked):
    """A service that is ready; the port that says so when all that are waited for were asked."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.wait()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            serving.join()
