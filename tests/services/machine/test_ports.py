"""Ports: chosen where no connection is given one, and never one that is in use."""

import socket

import pytest

from services.machine import ports
from services.machine.ports import CHOSEN, choose_port, is_free
from services.settings import SettingsRefused
from tests.servers import own_port


def test_a_port_lies_below_those_that_the_system_gives_to_connections():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert probe.getsockname()[1] > max(CHOSEN)
    assert {choose_port("127.0.0.1") for _ in range(20)} <= set(CHOSEN)


def test_a_wanted_port_is_given_when_it_is_free_and_not_taken():
    wanted = choose_port("127.0.0.1")
    assert choose_port("127.0.0.1", wanted) == wanted
    assert choose_port("127.0.0.1", wanted, frozenset({wanted})) != wanted
    with socket.create_server(("127.0.0.1", wanted)):
        assert not is_free("127.0.0.1", wanted)
        assert choose_port("127.0.0.1", wanted) != wanted


def test_what_is_taken_or_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch):
    ours = used, taken, free = own_port(), own_port(), own_port()  # nobody else comes to these
    monkeypatch.setattr(ports, "CHOSEN", ours)
    with socket.create_server(("127.0.0.1", used)):
        assert choose_port("127.0.0.1", 0, frozenset({taken})) == free


@pytest.mark.parametrize("host", ["192.0.2.7", "no address", "x" * 70])
def test_a_host_that_is_not_of_this_machine_is_refused_and_not_taken_for_a_port_in_use(host):
    with pytest.raises(SettingsRefused, match=f"cannot listen on {host}: "):
        is_free(host, 8001)
    with pytest.raises(SettingsRefused, match=f"cannot listen on {host}: "):
        choose_port(host, 8001)


def test_an_address_of_ipv6_is_asked_as_one():
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:  # this machine has none
        with pytest.raises(SettingsRefused):
            is_free("::1", 0)
        return
    with server:
        taken = server.getsockname()[1]
        assert not is_free("::1", taken)
        assert choose_port("::1", taken) != taken
    assert is_free("::1", taken)


def test_a_host_without_a_free_port_is_an_end(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        monkeypatch.setattr(ports, "CHOSEN", range(taken, taken + 1))
        with pytest.raises(SettingsRefused, match=r"no port of 127\.0\.0\.1 from \d+ to"):
            choose_port("127.0.0.1")
