"""Host candidates over UDP as an answer names them: RFC 8445 5.1.1.3 (foundation), 5.1.2 (priority), RFC 8839 5.1.

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

    def __str__(self) -> str:
        return f"{self.foundation} {COMPONENT_RTP} udp {self.priority} {self.address} {self.port} typ host"

    @property
    def connection(self) -> str:
        """Address type and address, as a `c=` line names them."""
        return f"IP6 {self.address}" if ":" in self.address else f"IP4 {self.address}"


def host_candidates(addresses: Iterable[IPAddress], port: int) -> tuple[Candidate, ...]:
    """One UDP host candidate for each address, in the order given, each with a local preference of its own."""
    return tuple(
        Candidate(
            foundation=foundation(address),
            priority=priority(LOCAL_PREFERENCE_HIGHEST - place),
            address=str(address),
            port=port,
        )
        for place, address in enumerate(addresses)
    )


def priority(local_preference: int) -> int:
    """RFC 8445 5.1.2.1, of a host candidate for component 1."""
    return (TYPE_PREFERENCE_HOST << 24) + (local_preference << 8) + (256 - COMPONENT_RTP)


def foundation(address: IPAddress) -> str:
    """The same for equal type, base address and transport, else different (RFC 8445 5.1.1.3); stable over restarts."""
    return str(zlib.crc32(f"host|udp|{address}".encode("ascii")))
