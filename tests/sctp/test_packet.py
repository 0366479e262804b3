"""SCTP packets: value or MalformedPacket for any input, compiled and uncompiled the same, aiortc agreeing."""

import pytest
from aiortc import rtcsctptransport as oracle
from google_crc32c import value as oracle_crc32c
from hypothesis import given
from hypothesis import strategies as st

from shm.errors import MalformedPacket
from tests.twins import load_both
from transceiverd.sctp import chunks, packet
from transceiverd.sctp.checksum import crc32c, packet_checksum
from transceiverd.sctp.chunks import (
    Abort,
    CookieEcho,
    Data,
    ErrorChunk,
    ForwardTsn,
    Heartbeat,
    Init,
    ReConfig,
    Sack,
    Shutdown,
    Signal,
    SkippedStream,
    Unknown,
)

BOTH = load_both("transceiverd.sctp.packet")
U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
BYTES = st.binary(max_size=40)
PARAMETERS = st.lists(st.tuples(U16, BYTES), max_size=4).map(tuple)
SOME = st.integers(1, 0xFFFF)
REASONS = {reason: reason for reason in packet.REASONS}  # a KeyError for any other
KNOWN = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 64, 130, 192, 194}

data_chunks = st.builds(Data, U32, U16, U16, U32, BYTES, st.integers(0, 15))
first_i_data = st.builds(
    Data, U32, U16, U32, U32, BYTES, st.integers(0, 15).map(lambda f: f | 2), interleaved=st.just(True)
)
later_i_data = st.builds(
    Data, U32, U16, U32, st.just(0), BYTES, st.integers(0, 15).map(lambda f: f & ~2), U32, st.just(True)
)
sacks = st.builds(
    Sack,
    U32,
    U32,
    st.lists(st.tuples(U16, U16), max_size=5).map(lambda pairs: tuple(n for pair in pairs for n in pair)),
    st.lists(U32, max_size=5).map(tuple),
)
plain_forward = st.builds(
    ForwardTsn, U32, st.lists(st.builds(SkippedStream, U16, U16, st.just(False)), max_size=5).map(tuple), st.just(False)
)
interleaved_forward = st.builds(
    ForwardTsn, U32, st.lists(st.builds(SkippedStream, U16, U32, st.booleans()), max_size=5).map(tuple), st.just(True)
)
any_chunk = st.one_of(
    data_chunks,
    first_i_data,
    later_i_data,
    sacks,
    plain_forward,
    interleaved_forward,
    st.builds(Init, U32.filter(bool), U32, SOME, SOME, U32, PARAMETERS, st.booleans()),
    st.builds(Heartbeat, BYTES, st.booleans()),
    st.builds(Abort, PARAMETERS, st.booleans()),
    st.builds(ErrorChunk, PARAMETERS),
    st.builds(Shutdown, U32),
    st.builds(Signal, st.sampled_from([8, 11]), st.just(False)),
    st.builds(Signal, st.just(14), st.booleans()),
    st.builds(CookieEcho, BYTES),
    st.builds(ReConfig, PARAMETERS),
    st.builds(Unknown, st.integers(0, 255).filter(lambda kind: kind not in KNOWN), st.integers(0, 255), BYTES),
)


@st.composite
def packets(draw: st.DrawFn) -> tuple[bytes, list[object]]:
    content = draw(st.lists(any_chunk, min_size=1, max_size=4))
    parts = [one.serialize() for one in content]
    return packet.serialize_packet(draw(U16), draw(U16), draw(U32), parts), content


def reseal(data: bytes) -> bytes:
    """`data` with the right checksum, so that a change reaches the chunks."""
    return data[:8] + packet_checksum(data).to_bytes(4, "little") + data[12:] if len(data) >= 12 else data


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """A valid packet with a few bytes changed, or cut, or no packet at all."""
    if draw(st.booleans()):
        return reseal(draw(st.binary(max_size=80)))
    data = bytearray(draw(packets())[0])
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return reseal(bytes(data))


def outcome(module: object, data: bytes) -> object:
    """The value as plain Python, or the fixed reason."""
    try:
        found = module.parse_packet(data)  # type: ignore[attr-defined]
    except MalformedPacket as error:
        return REASONS[error.reason]
    return (found.source_port, found.destination_port, found.tag, repr(found.chunks))


def test_checksum_known_values() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


@given(st.binary(max_size=200))
def test_checksum_as_another_library(data: bytes) -> None:
    assert crc32c(data) == oracle_crc32c(data)


@given(packets())
def test_packet_comes_back(pair: tuple[bytes, list[object]]) -> None:
    data, content = pair
    for module in BOTH:
        assert module.parse_packet(data).chunks == content


@given(hostile())
def test_packet_value_or_known_reason_whole_and_cut(data: bytes) -> None:
    """Any input is a value or one of the known reasons, in both twins alike, whole and cut at every byte."""
    for end in range(len(data) + 1):
        cut = reseal(data[:end])
        assert len({repr(outcome(module, cut)) for module in BOTH}) == 1


@given(packets())
def test_packet_wrong_checksum(pair: tuple[bytes, list[object]]) -> None:
    data = pair[0][:8] + bytes([pair[0][8] ^ 1]) + pair[0][9:]
    with pytest.raises(MalformedPacket, match="sctp-checksum"):
        packet.parse_packet(data)


def test_packet_zero_checksum_only_where_agreed() -> None:
    data = packet.serialize_packet(1, 2, 3, [Shutdown(4).serialize()], zero_checksum=True)
    assert packet.parse_packet(data, True).chunks == [Shutdown(4)]
    with pytest.raises(MalformedPacket, match="sctp-checksum"):
        packet.parse_packet(data)


ORACLE_FIELDS = {
    "DataChunk": lambda c: (c.tsn, c.stream_id, c.stream_seq, c.protocol, c.user_data, c.flags),
    "SackChunk": lambda c: (c.cumulative_tsn, c.advertised_rwnd, [n for gap in c.gaps for n in gap], c.duplicates),
    "InitChunk": lambda c: (c.initiate_tag, c.advertised_rwnd, c.outbound_streams, c.inbound_streams, c.initial_tsn),
    "ForwardTsnChunk": lambda c: (c.cumulative_tsn, c.streams),
    "ShutdownChunk": lambda c: c.cumulative_tsn,
}


def our_fields(chunk: object) -> object:
    """The same of our chunk."""
    match chunk:
        case Data():
            return (chunk.tsn, chunk.stream_id, chunk.sequence, chunk.ppid, chunk.payload, chunk.flags)
        case Sack():
            return (chunk.cumulative, chunk.window, list(chunk.gaps), list(chunk.duplicates))
        case Init():
            return tuple(chunk[:5])
        case ForwardTsn():
            return (chunk.cumulative, [(skipped.stream_id, skipped.sequence) for skipped in chunk.streams])
        case Shutdown():
            return chunk.cumulative
    return None


@given(
    st.lists(
        st.one_of(data_chunks.filter(lambda c: c.payload), sacks, plain_forward, st.builds(Shutdown, U32)),
        min_size=1,
        max_size=4,
    )
)
def test_packet_as_aiortc_reads_it(content: list[chunks.Chunk]) -> None:
    data = packet.serialize_packet(5000, 5000, 7, [one.serialize() for one in content])
    theirs = oracle.parse_packet(data)[3]
    assert [ORACLE_FIELDS[type(one).__name__](one) for one in theirs] == [our_fields(one) for one in content]
    assert b"".join(bytes(one) for one in theirs) == data[12:]


# Packets as RFC 9260 and usrsctp's tests know them: hex of the chunks, and what becomes of the packet.
CHUNK_CASES = {
    "length below the header": ("00030003", "sctp-chunk-length"),
    "length zero": ("00030000", "sctp-chunk-length"),
    "length beyond the packet": ("00030020" + "00" * 12, "sctp-chunk-length"),
    "data without its header": ("0003000c" + "00" * 8, "sctp-chunk-short"),
    "i-data without its header": ("40030010" + "00" * 12, "sctp-chunk-short"),
    "sack too short": ("0300000c" + "00" * 8, "sctp-chunk-short"),
    "sack with more gaps than bytes": ("03000010" + "00000001" + "00001000" + "00100000", "sctp-sack-length"),
    "sack with fewer gaps than bytes": (
        "03000014" + "00000001" + "00001000" + "00000000" + "00020003",
        "sctp-sack-length",
    ),
    "sack with 65535 gaps": ("03000010" + "00000001" + "00001000" + "ffff0000", "sctp-sack-length"),
    "init with tag zero": ("01000014" + "00000000" + "00001000" + "00010001" + "00000001", "sctp-init-value"),
    "init without streams": ("01000014" + "00000001" + "00001000" + "00000001" + "00000001", "sctp-init-value"),
    "init too short": ("01000010" + "00" * 12, "sctp-chunk-short"),
    "parameter of length zero": (
        "01000018" + "00000001" + "00001000" + "00010001" + "00000001" + "80080000",
        "sctp-parameter-length",
    ),
    "parameter beyond its chunk": (
        "01000018" + "00000001" + "00001000" + "00010001" + "00000001" + "80080010",
        "sctp-parameter-length",
    ),
    "shutdown too short": ("07000004", "sctp-chunk-short"),
    "forward-tsn too short": ("c0000004", "sctp-chunk-short"),
    "forward-tsn with half a stream": ("c000000a" + "00000001" + "00010000", "sctp-chunk-short"),
    "trailing bytes": ("0b000004" + "0000", "sctp-chunk-length"),
    "300 chunks": ("0b000004" * 300, "sctp-chunks-many"),
    "100 causes": ("06000194" + "000c0004" * 100, "sctp-parameters-many"),
}


@pytest.mark.parametrize("case", CHUNK_CASES)
def test_packet_known_bad_chunks(case: str) -> None:
    text, reason = CHUNK_CASES[case]
    data = packet.serialize_packet(5000, 5000, 1, [bytes.fromhex(text)])
    for module in BOTH:
        assert outcome(module, data) == reason


def test_packet_init_of_chromium_by_itself() -> None:
    """The 30 bytes that SNAP carries: the last parameter is not padded (FACTS 1)."""
    data = bytes.fromhex(
        "0100001e" + "12345678" + "00500000" + "ffffffff" + "9abcdef0" + "c0000004" + "80080006" + "82c0"
    )
    init = packet.parse_init(data)
    assert (init.tag, init.initial_tsn) == (0x12345678, 0x9ABCDEF0)
    assert init.parameters == ((0xC000, b""), (0x8008, b"\x82\xc0"))
    for end in range(len(data)):
        with pytest.raises(MalformedPacket):
            packet.parse_init(data[:end])
