"""The Data Channel Establishment Protocol: OPEN and ACK, read and written (RFC 8832 5)."""

import struct
from typing import NamedTuple

from shm.errors import MalformedPacket

PPID_DCEP = 50
PPID_TEXT = 51
PPID_BINARY = 53
PPID_BINARY_PARTIAL = 52  # deprecated (RFC 8831 6.6); nobody who can read this list sends it
PPID_TEXT_PARTIAL = 54  # likewise
PPID_TEXT_EMPTY = 56
PPID_BINARY_EMPTY = 57

TYPE_ACK = 2
TYPE_OPEN = 3
ACK = bytes((TYPE_ACK,))

RELIABLE = 0x00
LIMITED_RETRANSMITS = 0x01
LIMITED_LIFETIME = 0x02
UNORDERED = 0x80  # bit

_OPEN = struct.Struct("!BBHLHH")

REASONS = ("dcep-short", "dcep-type", "dcep-channel-type", "dcep-length", "dcep-text")


class Open(NamedTuple):
    """DATA_CHANNEL_OPEN. At most one of the limits is set."""

    label: str
    protocol: str
    ordered: bool = True
    max_retransmits: int | None = None
    max_lifetime_ms: int | None = None
    priority: int = 256

    def serialize(self) -> bytes:
        """The message's bytes."""
        kind, parameter = RELIABLE, 0
        if self.max_retransmits is not None:
            kind, parameter = LIMITED_RETRANSMITS, self.max_retransmits
        elif self.max_lifetime_ms is not None:
            kind, parameter = LIMITED_LIFETIME, self.max_lifetime_ms
        if not self.ordered:
            kind |= UNORDERED
        label, protocol = self.label.encode(), self.protocol.encode()
        return _OPEN.pack(TYPE_OPEN, kind, self.priority, parameter, len(label), len(protocol)) + label + protocol


def parse_open(data: bytes) -> Open:
    """Read an OPEN; raises MalformedPacket with one of REASONS."""
    if len(data) < _OPEN.size:
        raise MalformedPacket("dcep-short")
    message, kind, priority, parameter, label_size, protocol_size = _OPEN.unpack_from(data)
    if message != TYPE_OPEN:
        raise MalformedPacket("dcep-type")
    if len(data) != _OPEN.size + label_size + protocol_size:
        raise MalformedPacket("dcep-length")
    limit = kind & ~UNORDERED
    if limit > LIMITED_LIFETIME:
        raise MalformedPacket("dcep-channel-type")
    middle = _OPEN.size + label_size
    return Open(
        label=_text(data[_OPEN.size : middle]),
        protocol=_text(data[middle:]),
        ordered=not kind & UNORDERED,
        max_retransmits=parameter if limit == LIMITED_RETRANSMITS else None,
        max_lifetime_ms=parameter if limit == LIMITED_LIFETIME else None,
        priority=priority,
    )


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MalformedPacket("dcep-text") from None
