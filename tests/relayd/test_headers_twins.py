"""The compiled header parser and its uncompiled twin say the same of anything, whole and cut at every byte.

Invariant of each target: an answer from the fixed set (an offset inside the packet, or a reason), equal in both; and
what lies behind the given size changes nothing, so nothing behind it is read.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.relayd import packets
from tests.twins import load_compiled, load_uncompiled

compiled = load_compiled("relayd.headers")
uncompiled = load_uncompiled("relayd.headers")

attributes = st.builds(
    packets.attribute,
    st.sampled_from([0x0006, 0x0006, 0x0008, 0x001C, 0x8028, 0x0024, 0x7F01]) | st.integers(0, 0xFFFF),
    st.binary(max_size=40)
    | st.just(b"A" * 30 + b":peer")
    | st.just(b"A" * 508)
    | st.just(b"/" * 30 + b":" + b"x" * 478),
)
nearly_stun = st.builds(
    packets.stun,
    st.sampled_from([0x0001, 0x0001, 0x0011, 0x0101, 0x0111, 0x0003, 0x0200]) | st.integers(0, 0x03FF),
    st.lists(attributes, max_size=5).map(b"".join),
    cookie=st.sampled_from([packets.COOKIE, packets.COOKIE, packets.COOKIE, 0]),
    length=st.none() | st.none() | st.integers(0, 0xFFFF),
)


@st.composite
def flipped(draw: st.DrawFn) -> bytes:
    """A nearly valid message with one byte changed."""
    packet = bytearray(draw(nearly_stun))
    packet[draw(st.integers(0, len(packet) - 1))] = draw(st.integers(0, 255))
    return bytes(packet)


def agree(packet: bytes) -> int:
    """Both give the same; the compiled one gives it whatever lies behind the packet."""
    size = len(packet)
    kind: int = uncompiled.packet_kind(packet, size)
    assert compiled.packet_kind(packet, size) == kind
    assert 1 <= kind <= 4 or -len(compiled.REASONS) < kind < 0
    if kind != compiled.KIND_STUN:
        return kind
    offset: int = uncompiled.binding_request_ufrag(packet, size)
    for behind in (b"", b"\x00" * 64, b"\xff" * 64):
        assert compiled.binding_request_ufrag(packet + behind, size) == offset
    assert -len(compiled.REASONS) < offset < 0 or 24 <= offset <= size - 32
    return offset


@settings(max_examples=400, deadline=None)
@given(nearly_stun | flipped() | st.binary(max_size=80))
def test_headers_twins_agree_whole_and_cut_at_every_byte(packet: bytes) -> None:
    for size in range(len(packet) + 1):
        agree(packet[:size])


def test_headers_a_request_cut_at_any_byte_is_refused() -> None:
    packet = packets.binding_request("A" * 30)
    assert agree(packet) > 0
    for size in range(len(packet)):
        assert agree(packet[:size]) < 0
