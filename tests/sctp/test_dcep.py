"""DATA_CHANNEL_OPEN: comes back as it was, and any other input is a known refusal."""

from hypothesis import given
from hypothesis import strategies as st

from shm.errors import MalformedPacket
from transceiverd.sctp import dcep

U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
TEXT = st.text(max_size=20)
opens = st.one_of(
    st.builds(dcep.Open, TEXT, TEXT, st.booleans(), st.none(), st.none(), U16),
    st.builds(dcep.Open, TEXT, TEXT, st.booleans(), U32, st.none(), U16),
    st.builds(dcep.Open, TEXT, TEXT, st.booleans(), st.none(), U32, U16),
)


@given(opens)
def test_dcep_open_comes_back(opening: dcep.Open) -> None:
    assert dcep.parse_open(opening.serialize()) == opening


@given(st.one_of(st.binary(max_size=60), opens.map(dcep.Open.serialize)), st.integers(0, 59), st.integers(0, 255))
def test_dcep_value_or_known_reason_whole_and_cut(data: bytes, place: int, value: int) -> None:
    """Any input is an Open or one of the known reasons, whole and cut at every byte."""
    changed = data[:place] + bytes([value]) + data[place + 1 :]
    for end in range(len(changed) + 1):
        try:
            dcep.parse_open(changed[:end])
        except MalformedPacket as error:
            assert error.reason in dcep.REASONS  # noqa: PT017


def test_dcep_known_bytes() -> None:
    """RFC 8832 5.1, by hand."""
    data = bytes.fromhex("038101000000000300010002") + b"a" + b"bc"
    assert dcep.parse_open(data) == dcep.Open("a", "bc", False, 3, None, 256)
