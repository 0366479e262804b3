"""RTCP compounds: value or MalformedPacket for any input, compiled and uncompiled the same, aiortc agreeing."""

import pytest
from aiortc import rtp as aiortc_rtp
from hypothesis import given
from hypothesis import strategies as st

from shm.errors import MalformedPacket
from tests.twins import load_both, load_uncompiled
from transceiverd.media import rtcp

PLAIN = load_uncompiled("transceiverd.media.rtcp")
REASONS = {reason: reason for reason in rtcp.REASONS.values()}  # a KeyError for any other
U8, U32, U64 = st.integers(0, 255), st.integers(0, 0xFFFFFFFF), st.integers(0, (1 << 64) - 1)
WORDS = st.integers(0, 3).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))
BLOCKS = st.lists(
    st.builds(rtcp.ReportBlock, U32, U8, st.integers(-(1 << 23), (1 << 23) - 1), U32, U32, U32, U32), max_size=4
).map(tuple)
ITEMS = st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=20)), max_size=3).map(tuple)
PACKETS = st.one_of(
    st.builds(rtcp.SenderReport, U32, U64, U32, U32, U32, BLOCKS, WORDS),
    st.builds(rtcp.ReceiverReport, U32, BLOCKS, WORDS),
    st.builds(rtcp.SourceDescription, st.lists(st.builds(rtcp.Chunk, U32, ITEMS), max_size=4).map(tuple)),
    st.builds(rtcp.Goodbye, st.lists(U32, max_size=4).map(tuple), st.none() | st.binary(max_size=20)),
    st.builds(rtcp.OtherPacket, st.sampled_from([192, 204, 205, 206, 207]), st.integers(0, 31), WORDS),
)
COMPOUNDS = st.lists(PACKETS, min_size=1, max_size=4).map(tuple)
HOSTILE = st.one_of(
    st.binary(max_size=80),
    st.tuples(COMPOUNDS, st.lists(st.tuples(st.integers(0, 300), U8), max_size=4)).map(
        lambda pair: scribbled(rtcp.serialize_rtcp(pair[0]), pair[1])
    ),
)


def scribbled(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for place, value in changes:
        changed[place % len(data)] = value
    return bytes(changed)


def outcome(module: object, data: bytes) -> object:
    """The values, as plain tuples, or the fixed reason."""
    try:
        return [(type(packet).__name__, *packet) for packet in module.parse_rtcp(data)]  # type: ignore[attr-defined]
    except MalformedPacket as error:
        return REASONS[error.reason]


@given(COMPOUNDS)
def test_rtcp_what_is_serialised_parses_to_the_same(compound: tuple[rtcp.RtcpPacket, ...]) -> None:
    assert rtcp.parse_rtcp(rtcp.serialize_rtcp(compound)) == compound


@given(HOSTILE)
def test_rtcp_any_input_whole_and_cut_is_a_value_or_a_reason(data: bytes) -> None:
    for end in range(len(data) + 1):
        result = outcome(rtcp, data[:end])
        assert result == outcome(PLAIN, data[:end])
    if not isinstance(result, str):
        value = rtcp.parse_rtcp(data)
        assert rtcp.parse_rtcp(rtcp.serialize_rtcp(value)) == value


@given(HOSTILE)
def test_rtcp_agrees_with_aiortc(data: bytes) -> None:
    """What we take, aiortc takes with the same values, but for: profile-specific extensions of reports, which it
    refuses; SDES, which it reads without word alignment between chunks; feedback, whose inside we leave alone. What it
    takes and we refuse: padding before the last packet or not in whole words (RFC 3550 6.4.1), a cut BYE reason, an
    empty datagram."""
    try:
        ours = rtcp.parse_rtcp(data)
    except MalformedPacket:
        return
    simple = [packet for packet in ours if isinstance(packet, rtcp.SenderReport | rtcp.ReceiverReport | rtcp.Goodbye)]
    if len(simple) != len(ours) or any(getattr(packet, "extension", b"") for packet in simple):
        return
    theirs = aiortc_rtp.RtcpPacket.parse(data)
    assert len(theirs) == len(ours)
    for mine, other in zip(simple, theirs, strict=True):
        if isinstance(mine, rtcp.Goodbye):
            assert list(mine.sources) == other.sources
            continue
        assert mine.ssrc == other.ssrc
        assert [tuple(block) for block in mine.reports] == [
            (b.ssrc, b.fraction_lost, b.packets_lost, b.highest_sequence, b.jitter, b.lsr, b.dlsr)
            for b in other.reports
        ]
        if isinstance(mine, rtcp.SenderReport):
            info = other.sender_info
            assert mine[1:5] == (info.ntp_timestamp, info.rtp_timestamp, info.packet_count, info.octet_count)


@pytest.mark.parametrize("module", load_both("transceiverd.media.rtcp"))
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "rtcp-truncated"),
        ("80c9", "rtcp-truncated"),
        ("40c9000100000001", "rtcp-version"),
        ("80c9000200000001", "rtcp-length"),
        ("80c90001000000 01 80", "rtcp-truncated"),
        ("a0c9000200000001000000ff", "rtcp-padding"),
        ("a0c900020000000100000002", "rtcp-padding"),
        ("a0c9000200000001000000048 0c9000100000001", "rtcp-padding"),
        ("81c9000100000001", "rtcp-report-truncated"),
        ("80c80001000000 01", "rtcp-report-truncated"),
        ("81ca0001 00000001", "rtcp-description-truncated"),
        ("81ca0002 00000001 01080000", "rtcp-description-truncated"),
        ("82cb0001 00000001", "rtcp-bye-truncated"),
        ("81cb0002 00000001 04616263", "rtcp-bye-truncated"),
    ],
)
def test_rtcp_names_what_is_wrong(module: object, data: str, reason: str) -> None:
    assert outcome(module, bytes.fromhex(data.replace(" ", ""))) == reason
