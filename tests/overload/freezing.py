"""A database that stands still: it answers nothing, refuses nothing, and hangs nobody up."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from services.machine.embedded_postgres import EmbeddedPostgres


@contextmanager
def frozen(postgres: EmbeddedPostgres, *, backends_only: bool = False) -> Iterator[None]:
    """Stop a server's processes for the length of a block; `backends_only`: it still lets in."""
    pid = postgres.pid()
    assert pid is not None
    server = psutil.Process(pid)
    stopped = [] if backends_only else [server]
    for process in stopped:  # first: a stopped server makes no new backends
        process.send_signal(signal.SIGSTOP)
    stopped += server.children()
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in stopped:
            if psutil.pid_exists(process.pid):
                os.kill(process.pid, signal.SIGCONT)
