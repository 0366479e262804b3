"""RTP packets: of every shape, and nearly of one."""

from hypothesis import strategies as st

from fuzz.strategies import mutation
from transceiverd.media import rtp

U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)


@st.composite
def packets(draw: st.DrawFn) -> rtp.RtpPacket:
    """CSRCs, header extension and padding in any combination."""
    extended = draw(st.booleans())
    words = draw(st.integers(0, 5)) if extended else 0
    return rtp.RtpPacket(
        payload_type=draw(st.integers(0, 127)),
        marker=draw(st.booleans()),
        sequence_number=draw(U16),
        timestamp=draw(U32),
        ssrc=draw(U32),
        payload=draw(st.binary(max_size=40)),
        csrcs=tuple(draw(st.lists(U32, max_size=15))),
        extension_profile=draw(st.sampled_from([0xBEDE, 0x1000, 0x1234])) if extended else None,
        extension=draw(st.binary(min_size=4 * words, max_size=4 * words)),
        padding_size=draw(st.sampled_from([0, 0, 1, 4, 200, 255])),
    )


def hostile() -> st.SearchStrategy[bytes]:
    """Anything."""
    return mutation.hostile(packets().map(rtp.serialize_rtp))
