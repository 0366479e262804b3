"""Host candidates as an answer names them: RFC 8445 5.1.1.3 (foundation), 5.1.2 (priority), RFC 8839 5.1 (the line).

Made once from the advertised addresses (`transceiverd/candidates.py`), the same for every call; written by `answer`.
"""

import ipaddress
import zlib
from collections.abc import Iterable

import msgspec

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

TYPE_PREFERENCE_HOST = 126  # RFC 8445 5.1.2.2
LOCAL_PREFERENCE_HIGHEST = 65_535  # RFC 8445 5.1.2.1: distinct for each address of a host, going down from here
COMPONENT_RTP = 1


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
        return f"IP6 {self.address}" if ":" in self.address else f"IP4 {self.address}"


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
