"""For any input either a compound whose serialisation parses to the same, or MalformedPacket with a known reason.

Every input whole and cut at every byte; twins agree; aiortc agrees but for what is explained in `comparable`.
"""

import itertools
from typing import Any

from aiortc import rtp as aiortc_rtp
from hypothesis import given

from fuzz.oracle import assert_linear, cuts, examples, verdict
from fuzz.strategies.rtcp import COMPOUNDS, hostile
from tests.twins import load_compiled, load_uncompiled
from transceiverd.media import rtcp

COMPILED = load_compiled("transceiverd.media.rtcp")
PLAIN = load_uncompiled("transceiverd.media.rtcp")
REASONS = frozenset(rtcp.REASONS.values())


def named(found: object) -> object:
    """A compound with the names of its packets: two modules have two classes of each."""
    return found if isinstance(found, str) else [(type(packet).__name__, *packet) for packet in found]  # type: ignore[attr-defined]


def check(part: bytes) -> None:
    """The invariant for one input."""
    ours = verdict(COMPILED.parse_rtcp, part, REASONS)
    assert named(ours) == named(verdict(PLAIN.parse_rtcp, part, REASONS))
    if not isinstance(ours, str):
        assert COMPILED.parse_rtcp(COMPILED.serialize_rtcp(ours)) == ours


@examples(150)
@given(data=hostile())
def test_rtcp_any_bytes(data: bytes) -> None:
    for part in cuts(data):
        check(part)


def test_rtcp_every_small_packet() -> None:
    """Every body of one word and four small bytes: all the ways a list can end at, before and behind the end."""
    for kind, count in itertools.product((200, 201, 202, 203), (0, 1, 2)):
        for tail in itertools.product((0, 1, 2, 3, 255), repeat=4):
            data = bytes((0x80 | count, kind, 0, 2, 0, 0, 0, 1, *tail))
            ours = verdict(COMPILED.parse_rtcp, data, REASONS)
            assert named(ours) == named(verdict(PLAIN.parse_rtcp, data, REASONS))


@examples(100)
@given(data=hostile())
def test_rtcp_takes_linear_time(data: bytes) -> None:
    assert_linear(PLAIN.parse_rtcp, data, REASONS, per_byte=8)


def comparable(packets: tuple[rtcp.RtcpPacket, ...]) -> bool:
    """aiortc refuses profile-specific extensions of reports, reads SDES without the words between chunks, and looks
    into feedback, which we leave alone."""
    kinds = (rtcp.SenderReport, rtcp.ReceiverReport, rtcp.Goodbye)
    return all(isinstance(each, kinds) and not getattr(each, "extension", b"") for each in packets)


@examples(150)
@given(data=hostile())
def test_rtcp_agrees_with_aiortc(data: bytes) -> None:
    """What we take, it takes with the same values. What it takes and we refuse: padding before the last packet or
    not in whole words (RFC 3550 6.4.1), a cut BYE reason, an empty datagram."""
    ours = verdict(COMPILED.parse_rtcp, data, REASONS)
    if isinstance(ours, str) or not comparable(ours):
        return
    theirs: list[Any] = list(aiortc_rtp.RtcpPacket.parse(data))
    assert len(theirs) == len(ours)
    for mine, other in zip(ours, theirs, strict=True):
        if isinstance(mine, rtcp.Goodbye):
            assert list(mine.sources) == other.sources
            continue
        assert mine.ssrc == other.ssrc
        blocks = [
            (b.ssrc, b.fraction_lost, b.packets_lost, b.highest_sequence, b.jitter, b.lsr, b.dlsr)
            for b in other.reports
        ]
        assert [tuple(block) for block in mine.reports] == blocks
        if isinstance(mine, rtcp.SenderReport):
            info = other.sender_info
            assert mine[1:5] == (info.ntp_timestamp, info.rtp_timestamp, info.packet_count, info.octet_count)


@examples(60)
@given(compound=COMPOUNDS)
def test_rtcp_what_is_written_reads_the_same(compound: tuple[rtcp.RtcpPacket, ...]) -> None:
    data = COMPILED.serialize_rtcp(compound)
    assert COMPILED.parse_rtcp(data) == compound
    assert PLAIN.serialize_rtcp(PLAIN.parse_rtcp(data)) == data
