"""The host candidates of every answer: this machine's addresses, or those of the configuration, on the relay's port.

Read at start and when asked to again; the same list goes into every answer (DESIGN 5). RFC 8445 5.1.1.3 (foundation),
5.1.2 (priority), RFC 8421 (IPv4 and IPv6 interleaved), RFC 8839 5.1 (the line). Left out: link-local addresses (their
zone cannot be told in SDP), temporary and deprecated IPv6 addresses (they stop working under a running call), multicast
and wildcard addresses, names (nothing is resolved here).
"""

import ipaddress
import zlib
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

import ifaddr
import msgspec

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

TYPE_PREFERENCE_HOST = 126  # RFC 8445 5.1.2.2
LOCAL_PREFERENCE_HIGHEST = 65_535  # RFC 8445 5.1.2.1: distinct for each address of a host, going down from here
COMPONENT_RTP = 1
CANDIDATES_MAX = 32  # of one answer: a client checks each, and a host full of containers has hundreds of addresses

INTERFACE_FLAGS = Path("/proc/net/if_inet6")  # where Linux tells which IPv6 address is temporary
UNFIT_FLAGS = 0x01 | 0x08 | 0x20 | 0x40  # linux/if_addr.h: temporary, duplicate found, deprecated, tentative


class Candidate(msgspec.Struct, frozen=True):
    """One `a=candidate` (RFC 8839 5.1)."""

    foundation: str
    priority: int
    address: str
    port: int
    transport: str = "udp"
    tcp_type: str | None = None
    """`passive` for ICE-TCP (RFC 6544 4.5)."""

    def __str__(self) -> str:
        suffix = "" if self.tcp_type is None else f" tcptype {self.tcp_type}"
        return (
            f"{self.foundation} {COMPONENT_RTP} {self.transport} {self.priority} {self.address} {self.port} "
            f"typ host{suffix}"
        )

    @property
    def connection(self) -> str:
        """Address type and address, as a `c=` line names them."""
        return f"IP{ipaddress.ip_address(self.address).version} {self.address}"


def advertised_addresses(configured: Sequence[str] = ()) -> list[IPAddress]:
    """Addresses to advertise, best first: the configured ones, or every fit one of this machine for none or `auto`.

    Raises ValueError, naming the entry, for one that is no usable address.
    """
    chosen: list[IPAddress] = []
    for text in configured or ("auto",):
        chosen += _machine_addresses() if text == "auto" else [_configured_address(text)]
    return order_addresses(chosen)


def order_addresses(addresses: Iterable[IPAddress]) -> list[IPAddress]:
    """Without repeats; IPv6 and IPv4 in turn, wide scopes first, loopback last; at most CANDIDATES_MAX."""
    ranked = sorted(dict.fromkeys(addresses), key=_rank)
    reachable = [address for address in ranked if not address.is_loopback]
    loopback = [address for address in ranked if address.is_loopback]
    six = [address for address in reachable if address.version == 6]
    four = [address for address in reachable if address.version == 4]
    mixed = [address for pair in zip_longest(six, four) for address in pair if address is not None]
    return (mixed + sorted(loopback, key=lambda address: address.version))[:CANDIDATES_MAX]


def host_candidates(addresses: Iterable[IPAddress], port: int) -> tuple[Candidate, ...]:
    """One UDP host candidate for each address, in the order given, each with a local preference of its own."""
    return tuple(
        Candidate(
            foundation=foundation(address, "udp"),
            priority=priority(LOCAL_PREFERENCE_HIGHEST - place),
            address=str(address),
            port=port,
        )
        for place, address in enumerate(addresses)
    )


def priority(local_preference: int, type_preference: int = TYPE_PREFERENCE_HOST) -> int:
    """RFC 8445 5.1.2.1, for component 1."""
    return (type_preference << 24) + (local_preference << 8) + (256 - COMPONENT_RTP)


def foundation(address: IPAddress, transport: str) -> str:
    """The same for equal type, base address and transport, else different (RFC 8445 5.1.1.3); stable over restarts."""
    return str(zlib.crc32(f"host|{transport}|{address}".encode("ascii")))


def is_advertisable(address: IPAddress) -> bool:
    """Whether a client could reach it as written."""
    return not (address.is_link_local or address.is_multicast or address.is_unspecified)


def _rank(address: IPAddress) -> tuple[bool, bool]:
    return (address.is_loopback, not address.is_global)


def _configured_address(text: str) -> IPAddress:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither `auto` nor an IP address") from None
    if not is_advertisable(address):
        raise ValueError(f"{text!r} cannot be advertised: link-local, multicast or wildcard")
    return address


def _machine_addresses() -> list[IPAddress]:
    """Every fit address of every interface, loopback included."""
    unfit = _unfit_addresses()
    found: list[IPAddress] = []
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            text = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
            address = ipaddress.ip_address(text.partition("%")[0])
            if is_advertisable(address) and address not in unfit:
                found.append(address)
    return found


def _unfit_addresses() -> set[IPAddress]:
    """IPv6 addresses that are temporary, deprecated, tentative or duplicate; empty where the kernel does not tell."""
    try:
        lines = INTERFACE_FLAGS.read_text("ascii").splitlines()
    except OSError:
        return set()
    unfit: set[IPAddress] = set()
    for line in lines:
        fields = line.split()
        if len(fields) == 6 and int(fields[4], 16) & UNFIT_FLAGS:
            unfit.add(ipaddress.IPv6Address(bytes.fromhex(fields[0])))
    return unfit
