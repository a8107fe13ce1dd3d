"""Free ports on this machine."""

import socket
from contextlib import closing


def is_free(host: str, port: int) -> bool:
    """Say whether a port can be listened on now."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def choose_port(host: str, wanted: int = 0, taken: frozenset[int] = frozenset()) -> int:
    """Return the wanted port when it is free and not taken, else any free one."""
    if wanted and wanted not in taken and is_free(host, wanted):
        return wanted
    while True:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
            probe.bind((host, 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port
