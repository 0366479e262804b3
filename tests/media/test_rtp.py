"""RTP packets: value or MalformedPacket for any input, compiled and uncompiled the same, aiortc agreeing."""

import pytest
from aiortc import rtp as aiortc_rtp
from hypothesis import given
from hypothesis import strategies as st

from shm.errors import MalformedPacket
from tests.twins import load_both, load_uncompiled
from transceiverd.media import rtp

PLAIN = load_uncompiled("transceiverd.media.rtp")
REASONS = {reason: reason for reason in rtp.REASONS.values()}  # a KeyError for any other
U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)


@st.composite
def packets(draw: st.DrawFn) -> rtp.RtpPacket:
    extended = draw(st.booleans())
    return rtp.RtpPacket(
        payload_type=draw(st.integers(0, 127)),
        marker=draw(st.booleans()),
        sequence_number=draw(U16),
        timestamp=draw(U32),
        ssrc=draw(U32),
        payload=draw(st.binary(max_size=40)),
        csrcs=tuple(draw(st.lists(U32, max_size=15))),
        extension_profile=draw(U16) if extended else None,
        extension=draw(st.integers(0, 5).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n)))
        if extended
        else b"",
        padding_size=draw(st.integers(0, 20)),
    )


# Nearly valid: a valid packet with a few bytes changed.
hostile = st.one_of(
    st.binary(max_size=60),
    st.tuples(packets(), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 255)), max_size=3)).map(
        lambda pair: scribbled(rtp.serialize_rtp(pair[0]), pair[1])
    ),
)


def scribbled(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for place, value in changes:
        changed[place] = value
    return bytes(changed)


def outcome(module: object, data: bytes) -> object:
    """The value, as a plain tuple, or the fixed reason."""
    try:
        return tuple(module.parse_rtp(data))  # type: ignore[attr-defined]
    except MalformedPacket as error:
        return REASONS[error.reason]


@given(packets())
def test_rtp_what_is_serialised_parses_to_the_same(packet: rtp.RtpPacket) -> None:
    data = rtp.serialize_rtp(packet)
    assert rtp.parse_rtp(data) == packet
    assert PLAIN.serialize_rtp(packet) == data


@given(hostile)
def test_rtp_any_input_whole_and_cut_is_a_value_or_a_reason(data: bytes) -> None:
    for end in range(len(data) + 1):
        result = outcome(rtp, data[:end])
        assert result == outcome(PLAIN, data[:end])
        if not isinstance(result, str):
            again = rtp.parse_rtp(rtp.serialize_rtp(rtp.RtpPacket(*result)))
            assert tuple(again) == result


def parsed_by_aiortc(data: bytes) -> aiortc_rtp.RtpPacket | str:
    try:
        return aiortc_rtp.RtpPacket.parse(data)
    except ValueError as error:
        return str(error)


@given(hostile)
def test_rtp_agrees_with_aiortc(data: bytes) -> None:
    """One difference: aiortc parses what is inside one- and two-byte header extensions, we do not look in."""
    ours = outcome(rtp, data)
    theirs = parsed_by_aiortc(data)
    if isinstance(theirs, str):
        assert isinstance(ours, str) or "header extension" in theirs
        return
    assert not isinstance(ours, str)
    assert ours[:5] == (theirs.payload_type, bool(theirs.marker), theirs.sequence_number, theirs.timestamp, theirs.ssrc)
    assert (ours[5], list(ours[6]), ours[9]) == (theirs.payload, theirs.csrc, theirs.padding_size)


@pytest.mark.parametrize("module", load_both("transceiverd.media.rtp"))
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "rtp-truncated"),
        (bytes([0x80]) + bytes(10), "rtp-truncated"),
        (bytes([0x40]) + bytes(11), "rtp-version"),
        (bytes([0x82]) + bytes(18), "rtp-csrc-truncated"),
        (bytes([0x90]) + bytes(14), "rtp-extension-truncated"),
        (bytes([0x90]) + bytes(13) + b"\x00\x02" + bytes(7), "rtp-extension-truncated"),
        (bytes([0xA0]) + bytes(11), "rtp-padding"),
        (bytes([0xA0]) + bytes(12), "rtp-padding"),
        (bytes([0xA0]) + bytes(12) + b"\x03", "rtp-padding"),
    ],
)
def test_rtp_names_what_is_wrong(module: object, data: bytes, reason: str) -> None:
    assert outcome(module, data) == reason
