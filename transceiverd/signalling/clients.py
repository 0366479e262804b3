"""Whose request it is: the client's address, behind proxies too, and the name under which it is counted.

Used for every bound that is for one address. A header can say anything, so `X-Forwarded-For` counts only as far as
proxies named in the configuration wrote it, read from its end (RFC 7239 8.1 warns of the rest).
"""

import functools
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from aiohttp import web

IPV6_SITE_BITS = 64  # what one customer has at least (RFC 6177): single addresses of it cost nothing
HOPS_MAX = 8  # proxies of ours in a row; more is a forgery or a loop
Address = IPv4Address | IPv6Address


class Networks:
    """A set of networks of either family. Raises ValueError for what is none."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._networks = [ip_network(text) for text in texts]

    def __contains__(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


class Clients:
    """Tells clients apart by address."""

    def __init__(self, proxies: Iterable[str] = (), unlimited: Iterable[str] = ()) -> None:
        """`proxies` are believed in what they say of clients; `unlimited` networks are not counted by address."""
        self._proxies = Networks(proxies)
        self._unlimited = Networks(unlimited)

    def address(self, request: web.BaseRequest) -> str:
        """Where a request came from; empty for a Unix socket."""
        found = parse(request.remote or "")
        if found not in self._proxies:
            return "" if found is None else str(found)
        named = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
        for text in named[: -HOPS_MAX - 1 : -1]:
            hop = parse(_without_port(text.strip()))
            if hop is None:
                break
            found = hop
            if hop not in self._proxies:
                break
        return str(found)

    def host(self, request: web.BaseRequest) -> list[str]:
        """The Host headers of a request as its client wrote them, as far as a proxy of ours says so."""
        named = request.headers.getall("X-Forwarded-Host", [])
        if named and parse(request.remote or "") in self._proxies:
            return [named[-1].rpartition(",")[2].strip()]  # the last word is the proxy's that we know
        return request.headers.getall("Host", [])

    def counted(self, address: str) -> str:
        """The name of an address in the books: itself, or its IPv6 site; empty: not counted by address."""
        found = parse(address)
        if found is None or found in self._unlimited:
            return ""
        return str(found) if found.version == 4 else str(ip_network((found, IPV6_SITE_BITS), strict=False))

    def counted_peer(self, address: str) -> str:
        """Likewise for a connection: a proxy's carry everybody's requests."""
        return "" if parse(address) in self._proxies else self.counted(address)


def _without_port(text: str) -> str:
    """Some proxies write `203.0.113.1:50123` and `[2001:db8::1]:50123` (Azure's, IIS): the port tells nobody apart."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


@functools.lru_cache(1024)  # asked four times in each request, for the connection and for every bound
def parse(text: str) -> Address | None:
    """An address without port; an IPv4 one in IPv6's clothes as what it is; None for anything else."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
