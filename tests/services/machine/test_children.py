"""Asking services whether they are ready."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from services.machine.children import PROBE_SECONDS, SERVICES, probe_services
from services.settings import Settings


def test_a_silent_service_does_not_hold_up_the_question_to_the_others():
    """Each answers only when all have been asked: whoever asks one after the other hears none."""
    asked = threading.Barrier(len(SERVICES), timeout=PROBE_SECONDS / 2)

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.wait()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Answering) for _ in SERVICES]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    ports = {f"{name}_ops_port": s.server_port for name, s in zip(SERVICES, servers, strict=True)}
    try:
        assert probe_services(Settings.model_validate(ports)) == dict.fromkeys(SERVICES, "ready")
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
