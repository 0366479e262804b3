"""What `writing.pyx` makes is, byte for byte, what the value types write with `struct`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transceiverd.sctp import writing
from transceiverd.sctp.chunks import Data, Sack
from transceiverd.sctp.packet import serialize_packet

U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
FLAGS = st.integers(0, 15)


@given(data=st.binary(max_size=1_300), cut=st.tuples(U16, U16), flags=FLAGS, tsn=U32, place=st.tuples(U16, U16, U32))
def test_writing_data_chunk_is_a_slice_with_its_header_and_padding(
    data: bytes, cut: tuple[int, int], flags: int, tsn: int, place: tuple[int, int, int]
) -> None:
    offset = cut[0] % (len(data) + 1)
    size = cut[1] % (len(data) - offset + 1)
    stream_id, sequence, ppid = place
    expected = Data(tsn, stream_id, sequence, ppid, data[offset : offset + size], flags).serialize()
    assert writing.data_chunk(flags, tsn, stream_id, sequence, ppid, data, offset, size) == expected


@given(data=st.binary(max_size=1_300), flags=FLAGS, tsn=U32, place=st.tuples(U16, U32, U32))
def test_writing_i_data_chunk_carries_ppid_first_and_fragment_after(
    data: bytes, flags: int, tsn: int, place: tuple[int, int, int]
) -> None:
    stream_id, identifier, last = place
    first = flags & 2
    expected = Data(
        tsn, stream_id, identifier, last if first else 0, data, flags, 0 if first else last, interleaved=True
    ).serialize()
    assert writing.i_data_chunk(flags, tsn, stream_id, identifier, last, data, 0, len(data)) == expected


@given(
    cumulative=st.integers(0, 1 << 40),
    window=U32,
    edges=st.lists(st.integers(1, 0xFFFF), max_size=40, unique=True).map(sorted),
    duplicates=st.lists(U32, max_size=20),
)
def test_writing_sack_chunk_says_gaps_as_offsets(
    cumulative: int, window: int, edges: list[int], duplicates: list[int]
) -> None:
    edges = edges[: len(edges) & ~1]
    expected = Sack(cumulative & 0xFFFFFFFF, window, tuple(edges), tuple(duplicates)).serialize()
    assert writing.sack_chunk(cumulative, window, [cumulative + edge for edge in edges], duplicates) == expected


def test_writing_sack_chunk_leaves_out_gaps_too_far_to_be_said() -> None:
    said = writing.sack_chunk(100, 1, [102, 103, 200, 100 + 0x10000], [])
    assert said == Sack(100, 1, (2, 3)).serialize()


@given(ports=st.tuples(U16, U16), tag=U32, parts=st.lists(st.binary(max_size=300), max_size=5), zero=st.booleans())
def test_writing_packet_is_header_chunks_and_checksum(
    ports: tuple[int, int], tag: int, parts: list[bytes], zero: bool
) -> None:
    assert writing.packet(*ports, tag, parts, zero) == serialize_packet(*ports, tag, parts, zero)


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, 4), (3, 1), (0, -1), (1, 1 << 40)])
def test_writing_refuses_to_read_outside_of_the_message(offset: int, size: int) -> None:
    for write in (writing.data_chunk, writing.i_data_chunk):
        with pytest.raises(AssertionError):
            write(3, 1, 1, 1, 51, b"abc", offset, size)
