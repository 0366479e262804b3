"""Makes the committed seeds of the native targets: `python -m fuzz.seeds`. Small and valid; libFuzzer does the rest.

The packets are those that browsers and aiortc send, made by our own serialisers under the harness's fixed keys.
"""

import struct

from fuzz.native.run import CORPUS
from fuzz.strategies.ufrag import MACHINE_KEYS
from relayd.ufrag import mint
from transceiverd.ice import stun
from transceiverd.media import rtcp, rtp
from transceiverd.sctp import chunks
from transceiverd.sctp.packet import serialize_packet

MACHINE, SLOT, GENERATION = 7, 3, 5  # as in native/harness.pyx
# Flags, four bytes of the source address, port: in front of a packet for `route`.
FLOW_V4, FLOW_V6, STRANGER = b"\0\x0a\0\0\x01\x13\x88", b"\1\0\0\0\0\x13\x88", b"\0\x0a\0\0\x02\x13\x88"


def check(ufrag: str, sha256: bool = False) -> bytes:
    """A Binding request as Chromium sends it."""
    message = stun.Message(stun.REQUEST, b"transaction!")
    message.username = f"{ufrag}:cl1e".encode()
    message.priority, message.controlling, message.use_candidate = 0x6E7F1EFF, 1 << 60, True
    message.others = ((0xC057, b"\0\1\0\x0a"),)
    message.fingerprint = True
    return message.serialize(b"key", sha256)


def stun_seeds() -> list[bytes]:
    """A check, an answer, an error, an indication, an IPv6 address."""
    request = check(mint(MACHINE_KEYS, MACHINE, 0, SLOT, GENERATION, 1))
    answer = stun.Message(stun.SUCCESS, b"transaction!")
    answer.xor_mapped_address = (stun.IPV4_PREFIX + b"\x0a\0\0\1", 5000)
    answer6 = stun.Message(stun.SUCCESS, b"transaction!")
    answer6.xor_mapped_address = (bytes(range(16)), 5000)
    error = stun.Message(stun.ERROR, b"transaction!")
    error.error_code, error.error_reason = 487, b"Role Conflict"
    indication = stun.Message(stun.INDICATION, b"transaction!")
    return [
        request,
        check("x" * 30, True),
        answer.serialize(b"key"),
        answer6.serialize(),
        error.serialize(),
        indication.serialize(),
    ]


def classify_seeds() -> list[bytes]:
    """A check for each key, one of a foreign machine, DTLS, RTP, RTCP."""
    other = mint(MACHINE_KEYS, 8, 0, SLOT, GENERATION, 1)
    bare = stun.Message(stun.REQUEST, b"transaction!")
    bare.username = b"x" * 30 + b":y"
    return [*stun_seeds(), check(other), bare.serialize(), b"\x16\xfe\xfd" + bytes(10), *rtp_seeds(), *rtcp_seeds()]


def rtp_seeds() -> list[bytes]:
    """Plain, with an extension, with everything."""
    plain = rtp.RtpPacket(111, False, 7, 960, 0x1234, b"voice")
    extended = plain._replace(extension_profile=0xBEDE, extension=b"\x10\x80\0\0", marker=True)
    return [rtp.serialize_rtp(each) for each in (plain, extended, extended._replace(csrcs=(1, 2), padding_size=4))]


def rtcp_seeds() -> list[bytes]:
    """A compound as a browser sends it; a goodbye; feedback."""
    block = rtcp.ReportBlock(1, 0, -1, 7, 0, 0, 0)
    report = rtcp.SenderReport(0x1234, 1 << 60, 960, 1, 5, (block,))
    names = rtcp.SourceDescription((rtcp.Chunk(0x1234, ((1, b"cname"),)),))
    bye = rtcp.Goodbye((0x1234,), b"done")
    compounds: list[tuple[rtcp.RtcpPacket, ...]] = [
        (report, names), (rtcp.ReceiverReport(1, (block, block)), bye), (rtcp.OtherPacket(205, 15, bytes(12)),)
    ]  # fmt: skip
    return [rtcp.serialize_rtcp(compound) for compound in compounds]


def sctp_seeds() -> list[bytes]:
    """Every chunk once, in a few packets; the first byte asks for the right checksum."""
    every: list[list[chunks.Chunk]] = [
        [chunks.Init(1, 65536, 65535, 65535, 9, ((0xC000, b""), (0x8008, b"\x82\xc0")))],
        [chunks.Init(1, 65536, 65535, 65535, 9, ((7, b"cookie"),), True)],
        [chunks.CookieEcho(b"cookie"), chunks.Data(1, 0, 0, 50, b"\3\0\1\0\0\0\0\0\0\1\0\0c")],
        [chunks.Sack(1, 65536, (1, 2, 4, 5), (7,)), chunks.Data(1, 0, 9, 51, b"text", 3, 0, True)],
        [chunks.Heartbeat(b"info"), chunks.Shutdown(1), chunks.Signal(8), chunks.Abort(((12, b"bye"),))],
        [chunks.ForwardTsn(5, (chunks.SkippedStream(1, 2),)), chunks.ReConfig(((13, bytes(14)),))],
        [chunks.ForwardTsn(5, (chunks.SkippedStream(1, 2, True),), True), chunks.ErrorChunk(((3, bytes(4)),))],
    ]
    return [b"\1" + serialize_packet(5000, 5000, 1, [chunk.serialize() for chunk in found]) for found in every]


def ring_seeds() -> list[bytes]:
    """A ring with two records: indexes at the start, and at a wrap."""
    record = struct.pack("<IHBB", 140, 128, 1, 0) + bytes(136)
    start = struct.pack("<8Q", 1024, 384, 2 * 144, 0, 144, 0, 0, 0)
    wrapped = struct.pack("<8Q", 1024, 384, 4096 + 144, 4096, 4096, 4097, 1, 0)
    return [bytes((flags,)) + words + record * 2 for flags in (0, 4, 0xF8) for words in (start, wrapped)]


def main() -> None:
    """Write them all anew; past findings (named otherwise) stay."""
    packets = [*classify_seeds(), check(mint(MACHINE_KEYS, MACHINE, 9, SLOT, GENERATION, 1))]
    seeds = {
        "classify": classify_seeds(),
        "route": [place + packet for packet in packets for place in (FLOW_V4, FLOW_V6, STRANGER)],
        "rtp": rtp_seeds(), "rtp_value": rtp_seeds(), "rtcp": rtcp_seeds(), "rtcp_value": rtcp_seeds(),
        "stun": stun_seeds(), "sctp": sctp_seeds(), "ring": ring_seeds(),
    }  # fmt: skip
    for target, inputs in seeds.items():
        directory = CORPUS / target
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.glob("seed-*"):
            old.unlink()
        for place, data in enumerate(inputs):
            (directory / f"seed-{place:02}").write_bytes(data)


if __name__ == "__main__":
    main()
