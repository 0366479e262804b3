"""Which address a request counts for, whatever its headers say."""

import pytest
from aiohttp.test_utils import make_mocked_request

from transceiverd.signalling.clients import Clients

PROXIES = ["192.0.2.0/28", "2001:db8:1::/48"]


class _Transport:
    """All that a request asks of a transport here."""

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self._peer, 1) if name == "peername" else default


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("198.51.100.7", None, "198.51.100.7"),
        ("198.51.100.7", "203.0.113.1", "198.51.100.7"),  # anybody can write one
        ("192.0.2.1", "203.0.113.1", "203.0.113.1"),
        ("192.0.2.1", "6.6.6.6, 203.0.113.1", "203.0.113.1"),  # the client's own forgery stands in front
        ("192.0.2.1", "6.6.6.6, 203.0.113.1, 192.0.2.2", "203.0.113.1"),
        ("192.0.2.1", "nonsense\x1b[31m", "192.0.2.1"),
        ("192.0.2.1", "6.6.6.6:1, 203.0.113.1:50123", "203.0.113.1"),  # with ports, as Azure's gateways write it
        ("192.0.2.1", "[2001:db8:9::7]:50123, 192.0.2.2:80", "2001:db8:9::7"),
        ("192.0.2.1", "[2001:db8:9::7]", "2001:db8:9::7"),
        ("192.0.2.1", "[", "192.0.2.1"),
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", ",".join(["192.0.2.3"] * 1000), "192.0.2.3"),
        ("2001:db8:1::1", "2001:db8:9::7", "2001:db8:9::7"),
        ("::ffff:192.0.2.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("", "203.0.113.1", ""),
    ],
)
def test_clients_believe_proxies_only(peer: str, forwarded: str | None, address: str) -> None:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    request = make_mocked_request("POST", "/", headers, transport=_Transport(peer))
    assert Clients(PROXIES).address(request) == address


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:9:1:a:b:c:d", "2001:db8:9:1::/64"),
        ("2001:db8:9:1::1", "2001:db8:9:1::/64"),
        ("127.0.0.9", ""),
        ("::1", ""),
        ("", ""),
    ],
)
def test_clients_are_counted_by_site(address: str, name: str) -> None:
    assert Clients(unlimited=["127.0.0.0/8", "::1/128"]).counted(address) == name


def test_clients_connections_of_a_proxy_are_everybodys() -> None:
    clients = Clients(PROXIES)
    assert clients.counted_peer("192.0.2.1") == ""
    assert clients.counted_peer("192.0.2.99") == "192.0.2.99"
