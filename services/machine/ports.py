"""Free ports on this machine."""

import random
import socket
from contextlib import closing
from typing import Final

# Below the range from which Linux (from 32,768) and macOS (from 49,152) give to connections.
CHOSEN: Final = range(20_000, 32_000)


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
    """Return the wanted port when it is free and not taken, else any free one.

    Chosen by chance, and not by the system: the ports that it gives away it also gives to outgoing
    connections, and a server that is started later, or again, would find its own taken.
    """
    if wanted and wanted not in taken and is_free(host, wanted):
        return wanted
    chance = random.SystemRandom()
    while True:
        port = chance.choice(CHOSEN)
        if port not in taken and is_free(host, port):
            return port
