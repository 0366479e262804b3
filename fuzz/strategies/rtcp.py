"""RTCP compounds: reports, descriptions, goodbyes, feedback, padding; and nearly so."""

from hypothesis import strategies as st

from fuzz.strategies import mutation
from transceiverd.media import rtcp

RECEIVER_REPORT = 201  # packet type; compiled, rtcp.py keeps it to itself
U8, U32, U64 = st.integers(0, 255), st.integers(0, 0xFFFFFFFF), st.integers(0, (1 << 64) - 1)
WORDS = st.integers(0, 3).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))
LOST = st.integers(-(1 << 23), (1 << 23) - 1)
BLOCKS = st.lists(st.builds(rtcp.ReportBlock, U32, U8, LOST, U32, U32, U32, U32), max_size=4).map(tuple)
ITEMS = st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=20)), max_size=3).map(tuple)
CHUNKS = st.lists(st.builds(rtcp.Chunk, U32, ITEMS), max_size=4).map(tuple)

PACKETS: st.SearchStrategy[rtcp.RtcpPacket] = st.one_of(
    st.builds(rtcp.SenderReport, U32, U64, U32, U32, U32, BLOCKS, WORDS),
    st.builds(rtcp.ReceiverReport, U32, BLOCKS, WORDS),
    st.builds(rtcp.SourceDescription, CHUNKS),
    st.builds(rtcp.Goodbye, st.lists(U32, max_size=4).map(tuple), st.none() | st.binary(max_size=20)),
    st.builds(rtcp.OtherPacket, st.sampled_from([192, 204, 205, 206, 207]), st.integers(0, 31), WORDS),
)
COMPOUNDS = st.lists(PACKETS, min_size=1, max_size=4).map(tuple)


def _padded(data: bytes, words: int) -> bytes:
    """The last packet with padding, as RFC 3550 6.4.1 allows; taken as a packet of its own: a report without blocks."""
    body = bytes(4 + 4 * words - 1) + bytes((4 * words,))
    return data + bytes((0xA0, RECEIVER_REPORT)) + (len(body) // 4).to_bytes(2, "big") + body


def _framed(kind: int, count: int, body: list[int]) -> bytes:
    """One packet whose length is right, whatever its body says."""
    words = bytes(body[: len(body) // 4 * 4])
    return bytes((0x80 | count, kind)) + (len(words) // 4).to_bytes(2, "big") + words


# Bodies of small numbers: as item types, item lengths and zeroes they end at, just before and just behind the end.
FRAMED = st.builds(
    _framed, st.sampled_from([200, 201, 202, 202, 203, 203]), st.integers(0, 3),
    st.lists(st.sampled_from([0, 1, 1, 2, 3, 4, 5, 8, 255]), max_size=40),
)  # fmt: skip


def hostile() -> st.SearchStrategy[bytes]:
    """Anything."""
    whole = COMPOUNDS.map(rtcp.serialize_rtcp)
    return st.one_of(FRAMED, mutation.hostile(st.one_of(whole, st.builds(_padded, whole, st.integers(1, 5)))))
