"""For any input either a packet whose serialisation parses to the same, or MalformedPacket with a known reason.

Every input whole and cut at every byte; twins agree; aiortc agrees but for what is explained in `agrees`.
"""

from aiortc import rtp as aiortc_rtp
from hypothesis import given

from fuzz.oracle import assert_linear, attempt, cuts, examples, verdict
from fuzz.strategies.rtp import hostile, packets
from tests.twins import load_compiled, load_uncompiled
from transceiverd.media import rtp

COMPILED = load_compiled("transceiverd.media.rtp")
PLAIN = load_uncompiled("transceiverd.media.rtp")
REASONS = frozenset(rtp.REASONS.values())


def check(part: bytes) -> None:
    """The invariant for one input."""
    ours = verdict(COMPILED.parse_rtp, part, REASONS)
    plain = verdict(PLAIN.parse_rtp, part, REASONS)
    assert ours == plain
    if not isinstance(ours, str):
        again = COMPILED.serialize_rtp(ours)
        assert len(again) == len(part)
        assert COMPILED.parse_rtp(again) == ours


@examples(60)
@given(data=hostile())
def test_rtp_any_bytes(data: bytes) -> None:
    for part in cuts(data):
        check(part)


@examples(100)
@given(data=hostile())
def test_rtp_takes_linear_time(data: bytes) -> None:
    assert_linear(PLAIN.parse_rtp, data, REASONS, per_byte=3)


@examples(150)
@given(data=hostile())
def test_rtp_agrees_with_aiortc(data: bytes) -> None:
    """One difference: aiortc reads what is inside one- and two-byte header extensions, and refuses some; we do not."""
    ours = verdict(COMPILED.parse_rtp, data, REASONS)
    theirs = attempt(ValueError, aiortc_rtp.RtpPacket.parse, data)
    if isinstance(theirs, ValueError):
        assert isinstance(ours, str) or "header extension" in str(theirs)
        return
    assert not isinstance(ours, str)
    assert ours[:5] == (theirs.payload_type, bool(theirs.marker), theirs.sequence_number, theirs.timestamp, theirs.ssrc)
    assert (ours.payload, list(ours.csrcs), ours.padding_size) == (theirs.payload, theirs.csrc, theirs.padding_size)


@examples(60)
@given(packet=packets())
def test_rtp_what_is_written_reads_the_same(packet: rtp.RtpPacket) -> None:
    assert COMPILED.parse_rtp(PLAIN.serialize_rtp(packet)) == packet
