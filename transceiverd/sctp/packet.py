# cython: language_level=3, annotation_typing=False
"""SCTP packets read and written: common header, checksum, chunks.

Called for every packet. `parse_packet` gives a value or raises `MalformedPacket` with one of `REASONS`; a packet is
taken whole or not at all. Implements RFC 9260 3 (with the chunk length rules of 3.2), 6.8, and the formats named in
`chunks.py`. Compiled with `packet.pxd`; the same file runs uncompiled and both are tested against each other.
Left out: what a chunk means, and in which state it may come.
"""

import struct
from collections.abc import Callable

from shm.errors import MalformedPacket
from transceiverd.sctp.checksum import packet_checksum
from transceiverd.sctp.chunks import (
    Abort,
    Chunk,
    CookieEcho,
    Data,
    ErrorChunk,
    ForwardTsn,
    Heartbeat,
    Init,
    Parameter,
    ReConfig,
    Sack,
    Shutdown,
    Signal,
    SkippedStream,
    Unknown,
    new_data,
    new_sack,
)

HEADER_SIZE = 12  # bytes: ports, verification tag, checksum
CHUNKS_MAX = 256  # a packet; 1,200 bytes hold at most 60 DATA chunks with a byte each
PARAMETERS_MAX = 64  # of a chunk; an INIT has about 6
_HEADER = struct.Struct("!HHLL")
_INIT = struct.Struct("!LLHHL")

# Every reason that `parse_packet` gives: the labels of its counters.
REASONS = (
    "sctp-short",
    "sctp-checksum",
    "sctp-chunk-length",
    "sctp-chunks-many",
    "sctp-chunk-short",
    "sctp-parameter-length",
    "sctp-parameters-many",
    "sctp-sack-length",
    "sctp-init-value",
)


class Packet:
    """One SCTP packet."""

    __slots__ = ("chunks", "destination_port", "source_port", "tag")

    def __init__(self, source_port: int, destination_port: int, tag: int, chunks: list[Chunk]) -> None:
        self.source_port = source_port
        self.destination_port = destination_port
        self.tag = tag
        self.chunks = chunks


def parse_packet(data: bytes, zero_checksum: bool = False) -> Packet:
    """Read one whole packet; with `zero_checksum` a checksum of zero is as good as the right one (RFC 9653 5.3)."""
    size = len(data)
    if size < HEADER_SIZE + 4:
        raise MalformedPacket("sctp-short")
    checksum = u32_little(data, 8)
    if (checksum or not zero_checksum) and checksum != packet_checksum(data):
        raise MalformedPacket("sctp-checksum")
    packet = Packet.__new__(Packet)  # as by its class, without an object for each number
    packet.source_port = u16(data, 0)
    packet.destination_port = u16(data, 2)
    packet.tag = u32(data, 4)
    packet.chunks = parse_chunks(data, HEADER_SIZE)
    return packet


def parse_chunks(data: bytes, position: int) -> list[Chunk]:
    """The chunks from `position` to the end. The last one's padding may be missing."""
    size = len(data)
    chunks: list[Chunk] = []
    while position < size:
        if size - position < 4:
            raise MalformedPacket("sctp-chunk-length")
        length = u16(data, position + 2)
        if length < 4 or length > size - position:
            raise MalformedPacket("sctp-chunk-length")
        if len(chunks) == CHUNKS_MAX:
            raise MalformedPacket("sctp-chunks-many")
        chunks.append(parse_chunk(data, position, position + length))
        position += (length + 3) & 0x1FFFC
    return chunks


def parse_chunk(data: bytes, start: int, end: int) -> Chunk:
    """The chunk whose header begins at `start` and whose value ends at `end`: at least 4 bytes."""
    kind = data[start]
    if kind == 0:
        return read_data(data, start, end)
    if kind == 3:
        return read_sack(data, start + 4, end)
    if kind == 64:
        return read_i_data(data, start, end)
    return read_control(kind, data[start + 1], data[start + 4 : end])


def read_data(data: bytes, start: int, end: int) -> Data:
    """A DATA chunk (RFC 9260 3.3.1); its user data may be empty here, the engine judges that."""
    if end - start < 16:
        raise MalformedPacket("sctp-chunk-short")
    return new_data(
        u32(data, start + 4),
        u16(data, start + 8),
        u16(data, start + 10),
        u32(data, start + 12),
        data[start + 16 : end],
        data[start + 1],
        0,
        False,
    )


def read_i_data(data: bytes, start: int, end: int) -> Data:
    """An I-DATA chunk (RFC 8260 2.1)."""
    if end - start < 20:
        raise MalformedPacket("sctp-chunk-short")
    flags = data[start + 1]
    last = u32(data, start + 16)
    return new_data(
        u32(data, start + 4),
        u16(data, start + 8),
        u32(data, start + 12),
        last if flags & 2 else 0,
        data[start + 20 : end],
        flags,
        0 if flags & 2 else last,
        True,
    )


def read_sack(data: bytes, start: int, end: int) -> Sack:
    """A SACK chunk (RFC 9260 3.3.4): its counts must fill it exactly."""
    if end - start < 12:
        raise MalformedPacket("sctp-chunk-short")
    blocks = u16(data, start + 8)
    repeats = u16(data, start + 10)
    position = start + 12
    if end - position != 4 * (blocks + repeats):
        raise MalformedPacket("sctp-sack-length")
    gaps: tuple[int, ...] = ()
    duplicates: tuple[int, ...] = ()
    if blocks:
        gaps = struct.unpack_from(f"!{2 * blocks}H", data, position)
    if repeats:
        duplicates = struct.unpack_from(f"!{repeats}L", data, position + 4 * blocks)
    return new_sack(u32(data, start), u32(data, start + 4), gaps, duplicates)


def read_control(kind: int, flags: int, value: bytes) -> Chunk:
    """Any chunk that does not carry user data or acknowledge it."""
    if kind in (8, 11, 14):
        return Signal(kind, kind == 14 and bool(flags & 1))
    if kind == 6:
        return Abort(parse_parameters(value), bool(flags & 1))
    reader = READERS.get(kind)
    return Unknown(kind, flags, value) if reader is None else reader(kind, value)


def of_size(value: bytes, size: int) -> bytes:
    """`value`, if it has at least `size` bytes."""
    if len(value) < size:
        raise MalformedPacket("sctp-chunk-short")
    return value


def read_init(kind: int, value: bytes) -> Chunk:
    """INIT or INIT ACK (RFC 9260 3.3.2). A zero tag or no stream at all is nothing that can be answered in kind."""
    tag, window, outbound, inbound, initial_tsn = _INIT.unpack_from(of_size(value, 16))
    if not (tag and outbound and inbound):
        raise MalformedPacket("sctp-init-value")
    return Init(tag, window, outbound, inbound, initial_tsn, parse_parameters(value, 16), kind == 2)


def parse_init(data: bytes) -> Init:
    """One whole INIT chunk by itself, as SNAP carries it in SDP."""
    chunks = parse_chunks(data, 0)
    if len(chunks) != 1 or not isinstance(chunks[0], Init) or chunks[0].ack:
        raise MalformedPacket("sctp-init-value")
    return chunks[0]


def read_forward_tsn(kind: int, value: bytes) -> Chunk:
    """FORWARD-TSN (RFC 3758 3.2) or I-FORWARD-TSN (RFC 8260 2.3.1)."""
    interleaved = kind == 194
    each = 8 if interleaved else 4
    if (len(of_size(value, 4)) - 4) % each:
        raise MalformedPacket("sctp-chunk-short")
    streams = []
    for at in range(4, len(value), each):
        if interleaved:
            streams.append(SkippedStream(u16(value, at), u32(value, at + 4), bool(value[at + 3] & 1)))
        else:
            streams.append(SkippedStream(u16(value, at), u16(value, at + 2)))
    return ForwardTsn(u32(value, 0), tuple(streams), interleaved)


def parse_parameters(value: bytes, position: int = 0) -> tuple[Parameter, ...]:
    """TLVs of parameters or error causes from `position` on (RFC 9260 3.2.1)."""
    size = len(value)
    found: list[Parameter] = []
    while position < size:
        if size - position < 4:
            raise MalformedPacket("sctp-parameter-length")
        length = u16(value, position + 2)
        if length < 4 or length > size - position:
            raise MalformedPacket("sctp-parameter-length")
        if len(found) == PARAMETERS_MAX:
            raise MalformedPacket("sctp-parameters-many")
        found.append((u16(value, position), value[position + 4 : position + length]))
        position += (length + 3) & 0x1FFFC
    return tuple(found)


READERS: dict[int, Callable[[int, bytes], Chunk]] = {
    1: read_init,
    2: read_init,
    4: lambda _, value: Heartbeat(value),
    5: lambda _, value: Heartbeat(value, True),
    7: lambda _, value: Shutdown(u32(of_size(value, 4), 0)),
    9: lambda _, value: ErrorChunk(parse_parameters(value)),
    10: lambda _, value: CookieEcho(value),
    130: lambda _, value: ReConfig(parse_parameters(value)),
    192: read_forward_tsn,
    194: read_forward_tsn,
}


def serialize_packet(
    source_port: int, destination_port: int, tag: int, chunks: list[bytes], zero_checksum: bool = False
) -> bytes:
    """A packet of chunks that are already bytes, each padded."""
    head = _HEADER.pack(source_port, destination_port, tag, 0)
    packet = b"".join([head, *chunks])
    if zero_checksum:
        return packet
    return packet[:8] + packet_checksum(packet).to_bytes(4, "little") + packet[12:]


def u16(data: bytes, at: int) -> int:
    """Two bytes in network order; the caller has checked the bounds."""
    return data[at] << 8 | data[at + 1]


def u32(data: bytes, at: int) -> int:
    """Four bytes in network order; the caller has checked the bounds."""
    return u16(data, at) << 16 | u16(data, at + 2)


def u32_little(data: bytes, at: int) -> int:
    """Four bytes, lowest first, as the checksum stands in the packet (RFC 9260 appendix A)."""
    return data[at] | data[at + 1] << 8 | data[at + 2] << 16 | data[at + 3] << 24
