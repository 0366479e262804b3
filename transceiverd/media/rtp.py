# cython: language_level=3, annotation_typing=False
"""RTP packets (RFC 3550 section 5.1), their header extensions (5.3.1) and padding.

Called natively by the media thread through `rtp.pxd` (where a payload starts and ends) and from Python by tests, the
load generator and the bridge (`parse_rtp`, `serialize_rtp`). Runs compiled and uncompiled. What is inside a header
extension (RFC 8285) is left alone: the echo strips it.
"""

from typing import NamedTuple

from shm.errors import MalformedPacket

RTP_HEADER_SIZE = 12
TRUNCATED = -1
VERSION = -2
CSRC = -3
EXTENSION = -4
PADDING = -5

REASONS = {
    -1: "rtp-truncated",
    -2: "rtp-version",
    -3: "rtp-csrc-truncated",
    -4: "rtp-extension-truncated",
    -5: "rtp-padding",
}


class RtpPacket(NamedTuple):
    """One RTP packet. `extension_profile` is `None` when the X bit is clear; `extension` is a multiple of 4 bytes."""

    payload_type: int
    marker: bool
    sequence_number: int
    timestamp: int
    ssrc: int
    payload: bytes = b""
    csrcs: tuple[int, ...] = ()
    extension_profile: int | None = None
    extension: bytes = b""
    padding_size: int = 0


def read_u16(data: bytes, at: int) -> int:
    return (data[at] << 8) | data[at + 1]


def read_u32(data: bytes, at: int) -> int:
    return (read_u16(data, at) << 16) | read_u16(data, at + 2)


def payload_start(data: bytes, size: int) -> int:
    if size < RTP_HEADER_SIZE:
        return TRUNCATED
    if data[0] >> 6 != 2:
        return VERSION
    offset = RTP_HEADER_SIZE + 4 * (data[0] & 0x0F)
    if size < offset:
        return CSRC
    if data[0] & 0x10:
        if size < offset + 4:
            return EXTENSION
        offset = offset + 4 + 4 * read_u16(data, offset + 2)
        if size < offset:
            return EXTENSION
    return offset


def payload_end(data: bytes, size: int, start: int) -> int:
    if not data[0] & 0x20:
        return size
    if size <= start:
        return PADDING
    padding = data[size - 1]
    if padding == 0 or padding > size - start:
        return PADDING
    return size - padding


def parse_rtp(data: bytes) -> RtpPacket:
    """Parse a plain (not encrypted) RTP packet; raises `MalformedPacket`."""
    start = payload_start(data, len(data))
    if start < 0:
        raise MalformedPacket(REASONS[start])
    end = payload_end(data, len(data), start)
    if end < 0:
        raise MalformedPacket(REASONS[end])
    csrc_end = RTP_HEADER_SIZE + 4 * (data[0] & 0x0F)
    extended = bool(data[0] & 0x10)
    return RtpPacket(
        payload_type=data[1] & 0x7F,
        marker=bool(data[1] & 0x80),
        sequence_number=read_u16(data, 2),
        timestamp=read_u32(data, 4),
        ssrc=read_u32(data, 8),
        payload=data[start:end],
        csrcs=tuple(read_u32(data, at) for at in range(RTP_HEADER_SIZE, csrc_end, 4)),
        extension_profile=read_u16(data, csrc_end) if extended else None,
        extension=data[csrc_end + 4 : start] if extended else b"",
        padding_size=len(data) - end,
    )


def serialize_rtp(packet: RtpPacket) -> bytes:
    """The bytes of a plain RTP packet. `ValueError` when a field does not fit its place (our own mistake)."""
    if len(packet.csrcs) > 15 or len(packet.extension) % 4 or not 0 <= packet.payload_type <= 127:
        raise ValueError("field out of range")
    first = 0x80 | len(packet.csrcs)
    extension = b""
    if packet.extension_profile is not None:
        first |= 0x10
        words = len(packet.extension) // 4
        extension = packet.extension_profile.to_bytes(2, "big") + words.to_bytes(2, "big") + packet.extension
    padding = b""
    if packet.padding_size:
        first |= 0x20
        padding = bytes(packet.padding_size - 1) + packet.padding_size.to_bytes(1, "big")
    return b"".join(
        (
            bytes((first, (0x80 if packet.marker else 0) | packet.payload_type)),
            packet.sequence_number.to_bytes(2, "big"),
            packet.timestamp.to_bytes(4, "big"),
            packet.ssrc.to_bytes(4, "big"),
            *(csrc.to_bytes(4, "big") for csrc in packet.csrcs),
            extension,
            packet.payload,
            padding,
        )
    )
