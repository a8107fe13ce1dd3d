"""Free ports on this machine."""

import errno
import random
import socket
from contextlib import closing
from itertools import chain
from typing import Final

from services.settings import SettingsRefused

# Below the range from which Linux (from 32,768) and macOS (from 49,152) give to connections.
CHOSEN: Final = range(20_000, 32_000)
TAKEN: Final = frozenset({errno.EADDRINUSE, errno.EACCES})


def is_free(host: str, port: int) -> bool:
    """Say whether a port can be listened on now, at every address that a host has here.

    Raises `SettingsRefused` when the host is none of this machine.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise _refusal(host, error) from None
    tried = [_obstacle(family, address) for family, *_, address in found]
    obstacles = [error for error in tried if error is not None]
    if any(error.errno in TAKEN for error in obstacles):
        return False
    if len(obstacles) == len(tried):  # not all: localhost may be ::1 too where there is no IPv6
        raise _refusal(host, obstacles[0])
    return True


def _obstacle(family: int, address: tuple[object, ...]) -> OSError | None:
    """Say what keeps us from listening at an address."""
    try:
        with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # as the services do: the same port of IPv4 is another
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def _refusal(host: str, error: Exception) -> SettingsRefused:
    why = error.strerror if isinstance(error, OSError) else "no name of a machine"
    return SettingsRefused(
        f"cannot listen on {host}: {why}; set TURNSHEET_HOST to an address of this machine"
    )


def choose_port(host: str, wanted: int = 0, taken: frozenset[int] = frozenset()) -> int:
    """Return the wanted port when it is free and not taken, else any free one.

    Chosen by chance, and not by the system: the ports that it gives away it also gives to outgoing
    connections, and a server that is started later, or again, would find its own taken. Raises
    `SettingsRefused` when the host is none of this machine, or has no free port at all.
    """
    if wanted and wanted not in taken and is_free(host, wanted):
        return wanted
    first = random.SystemRandom().randrange(len(CHOSEN))
    for port in chain(CHOSEN[first:], CHOSEN[:first]):
        if port not in taken and is_free(host, port):
            return port
    raise SettingsRefused(f"no port of {host} from {CHOSEN[0]} to {CHOSEN[-1]} is free")
