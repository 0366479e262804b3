# cython: language_level=3, annotation_typing=False
"""RTCP compound packets (RFC 3550 section 6), reduced-size ones included (RFC 5506).

Called natively by the media thread through `rtcp.pxd` (`check_compound`, then plain reads) and from Python by tests and
the load generator (`parse_rtcp`, `serialize_rtcp`). Runs compiled and uncompiled. SR, RR, SDES and BYE are understood;
every other type (APP, feedback of RFC 4585, XR) is kept as `OtherPacket`. APP and feedback semantics are left out.
"""

from typing import NamedTuple

from shm.errors import MalformedPacket

RTCP_HEADER_SIZE = 8
SENDER_REPORT = 200
RECEIVER_REPORT = 201
SOURCE_DESCRIPTION = 202
GOODBYE = 203
REPORT_BLOCK_SIZE = 24

TRUNCATED = -1
VERSION = -2
LENGTH = -3
PADDING = -4
REPORT = -5
DESCRIPTION = -6
BYE = -7

REASONS = {
    -1: "rtcp-truncated",
    -2: "rtcp-version",
    -3: "rtcp-length",
    -4: "rtcp-padding",
    -5: "rtcp-report-truncated",
    -6: "rtcp-description-truncated",
    -7: "rtcp-bye-truncated",
}


class ReportBlock(NamedTuple):
    """What a receiver says of one source (RFC 3550 6.4.1); `cumulative_lost` is signed, 24 bits."""

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    highest: int
    jitter: int
    last_sender_report: int
    delay: int  # since that sender report, in 1/65536 s


class SenderReport(NamedTuple):
    """RFC 3550 6.4.1. `extension` is the profile-specific tail, a multiple of 4 bytes."""

    ssrc: int
    ntp_timestamp: int
    rtp_timestamp: int
    packet_count: int
    octet_count: int
    reports: tuple[ReportBlock, ...] = ()
    extension: bytes = b""


class ReceiverReport(NamedTuple):
    """RFC 3550 6.4.2."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()
    extension: bytes = b""


class Chunk(NamedTuple):
    """One source of an SDES packet; items are (type, value), type 1 is CNAME."""

    ssrc: int
    items: tuple[tuple[int, bytes], ...]


class SourceDescription(NamedTuple):
    """RFC 3550 6.5."""

    chunks: tuple[Chunk, ...]


class Goodbye(NamedTuple):
    """RFC 3550 6.6. `reason` is `None` when absent."""

    sources: tuple[int, ...]
    reason: bytes | None = None


class OtherPacket(NamedTuple):
    """A type that is not understood here: kept whole, padding taken off."""

    packet_type: int
    subtype: int  # the five bits that count items in SR, RR, SDES and BYE
    body: bytes


RtcpPacket = SenderReport | ReceiverReport | SourceDescription | Goodbye | OtherPacket


def read_integer(data: bytes, at: int, width: int) -> int:
    """`width` bytes at `at`, network order."""
    return int.from_bytes(data[at : at + width], "big")


def packet_end(data: bytes, size: int, at: int) -> int:
    if size - at < 4:
        return TRUNCATED
    if data[at] >> 6 != 2:
        return VERSION
    end = at + 4 + 4 * ((data[at + 2] << 8) | data[at + 3])
    if end > size:
        return LENGTH
    return end


def body_end(data: bytes, size: int, at: int, end: int) -> int:
    if not data[at] & 0x20:
        return end
    padding = data[end - 1]
    # RFC 3550 6.4.1: padding only on the last packet of a compound, and in whole words.
    if end != size or end == at + 4 or padding == 0 or padding % 4 or padding > end - at - 4:
        return PADDING
    return end - padding


def chunk_end(data: bytes, at: int, end: int) -> int:
    start = at
    at = at + 4
    while at < end and data[at] != 0:
        if end - at < 2 or end - at < 2 + data[at + 1]:
            return DESCRIPTION
        at = at + 2 + data[at + 1]
    at = at + 1  # the null octet that ends the list; up to three more fill the word
    at = start + 4 * ((at - start + 3) // 4)
    return at if at <= end else DESCRIPTION


def check_body(data: bytes, at: int, end: int) -> int:
    kind = data[at + 1]
    count = data[at] & 0x1F
    if kind == SENDER_REPORT:
        return 0 if end - at >= 28 + REPORT_BLOCK_SIZE * count else REPORT
    if kind == RECEIVER_REPORT:
        return 0 if end - at >= 8 + REPORT_BLOCK_SIZE * count else REPORT
    if kind == GOODBYE:
        if end - at < 4 + 4 * count:
            return BYE
        at = at + 4 + 4 * count
        return 0 if at == end or end - at > data[at] else BYE
    if kind == SOURCE_DESCRIPTION:
        at = at + 4
        while count > 0 and at >= 0:
            at = chunk_end(data, at, end) if end - at >= 8 else DESCRIPTION
            count = count - 1
        return 0 if at >= 0 else DESCRIPTION
    return 0


def check_compound(data: bytes, size: int) -> int:
    at = 0
    if size == 0:
        return TRUNCATED
    while at < size:
        end = packet_end(data, size, at)
        if end < 0:
            return end
        limit = body_end(data, size, at, end)
        if limit < 0:
            return limit
        verdict = check_body(data, at, limit)
        if verdict < 0:
            return verdict
        at = end
    return 0


def parse_rtcp(data: bytes) -> tuple[RtcpPacket, ...]:
    """Parse a plain compound; raises `MalformedPacket`."""
    verdict = check_compound(data, len(data))
    if verdict < 0:
        raise MalformedPacket(REASONS[verdict])
    packets = []
    at = 0
    while at < len(data):
        end = packet_end(data, len(data), at)
        limit = body_end(data, len(data), at, end)
        packets.append(_parse_packet(data[at + 1], data[at] & 0x1F, data[at + 4 : limit]))
        at = end
    return tuple(packets)


def _parse_packet(kind: int, count: int, body: bytes) -> RtcpPacket:
    if kind == SENDER_REPORT:
        return SenderReport(
            ssrc=read_integer(body, 0, 4),
            ntp_timestamp=read_integer(body, 4, 8),
            rtp_timestamp=read_integer(body, 12, 4),
            packet_count=read_integer(body, 16, 4),
            octet_count=read_integer(body, 20, 4),
            reports=_parse_blocks(body[24:], count),
            extension=body[24 + REPORT_BLOCK_SIZE * count :],
        )
    if kind == RECEIVER_REPORT:
        return ReceiverReport(
            read_integer(body, 0, 4), _parse_blocks(body[4:], count), body[4 + REPORT_BLOCK_SIZE * count :]
        )
    if kind == SOURCE_DESCRIPTION:
        return SourceDescription(_parse_chunks(body, count))
    if kind == GOODBYE:
        reason = body[4 * count + 1 : 4 * count + 1 + body[4 * count]] if len(body) > 4 * count else None
        return Goodbye(tuple(read_integer(body, 4 * i, 4) for i in range(count)), reason)
    return OtherPacket(kind, count, body)


def _parse_blocks(body: bytes, count: int) -> tuple[ReportBlock, ...]:
    blocks = []
    for start in range(0, REPORT_BLOCK_SIZE * count, REPORT_BLOCK_SIZE):
        lost = read_integer(body, start + 5, 3)
        blocks.append(
            ReportBlock(
                read_integer(body, start, 4),
                body[start + 4],
                lost - (1 << 24) if lost >= 1 << 23 else lost,
                *(read_integer(body, start + at, 4) for at in (8, 12, 16, 20)),
            )
        )
    return tuple(blocks)


def _parse_chunks(body: bytes, count: int) -> tuple[Chunk, ...]:
    chunks = []
    at = 0
    for _ in range(count):
        end = chunk_end(body, at, len(body))
        items = []
        item = at + 4
        while body[item] != 0:
            items.append((body[item], body[item + 2 : item + 2 + body[item + 1]]))
            item += 2 + body[item + 1]
        chunks.append(Chunk(read_integer(body, at, 4), tuple(items)))
        at = end
    return tuple(chunks)


def serialize_rtcp(packets: tuple[RtcpPacket, ...]) -> bytes:
    """The bytes of a compound, without padding. `OverflowError` when a field does not fit (our own mistake)."""
    return b"".join(_serialize_packet(packet) for packet in packets)


def _serialize_packet(packet: RtcpPacket) -> bytes:
    if isinstance(packet, SenderReport):
        head = b"".join(value.to_bytes(width, "big") for value, width in zip(packet[:5], (4, 8, 4, 4, 4), strict=True))
        return _frame(SENDER_REPORT, len(packet.reports), head + _serialize_blocks(packet.reports) + packet.extension)
    if isinstance(packet, ReceiverReport):
        head = packet.ssrc.to_bytes(4, "big")
        return _frame(RECEIVER_REPORT, len(packet.reports), head + _serialize_blocks(packet.reports) + packet.extension)
    if isinstance(packet, SourceDescription):
        return _frame(SOURCE_DESCRIPTION, len(packet.chunks), b"".join(map(_serialize_chunk, packet.chunks)))
    if isinstance(packet, Goodbye):
        body = b"".join(ssrc.to_bytes(4, "big") for ssrc in packet.sources)
        if packet.reason is not None:
            body += len(packet.reason).to_bytes(1, "big") + packet.reason
        return _frame(GOODBYE, len(packet.sources), body + bytes(-len(body) % 4))
    return _frame(packet.packet_type, packet.subtype, packet.body)


def _serialize_blocks(blocks: tuple[ReportBlock, ...]) -> bytes:
    return b"".join(
        block.ssrc.to_bytes(4, "big")
        + block.fraction_lost.to_bytes(1, "big")
        + block.cumulative_lost.to_bytes(3, "big", signed=True)
        + b"".join(value.to_bytes(4, "big") for value in block[3:])
        for block in blocks
    )


def _serialize_chunk(chunk: Chunk) -> bytes:
    items = b"".join(bytes((kind, len(value))) + value for kind, value in chunk.items)
    body = chunk.ssrc.to_bytes(4, "big") + items + b"\0"
    return body + bytes(-len(body) % 4)


def _frame(kind: int, count: int, body: bytes) -> bytes:
    if not 0 <= count <= 31 or len(body) % 4:
        raise ValueError("field out of range")
    return bytes((0x80 | count, kind)) + (len(body) // 4).to_bytes(2, "big") + body
