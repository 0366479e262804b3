"""SCTP packets of every chunk, and DCEP messages; valid, nearly valid, and hostile behind a right checksum."""

from hypothesis import strategies as st

from fuzz.strategies import mutation
from transceiverd.sctp import chunks, dcep
from transceiverd.sctp.checksum import packet_checksum
from transceiverd.sctp.packet import serialize_packet

U8, U16, U32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
POSITIVE = st.integers(1, 0xFFFF)
PARAMETERS = st.lists(st.tuples(U16, st.binary(max_size=12)), max_size=4).map(tuple)


@st.composite
def data_chunks(draw: st.DrawFn) -> chunks.Data:
    """DATA and I-DATA."""
    interleaved = draw(st.booleans())
    flags = draw(U8)
    first = bool(flags & chunks.FLAG_BEGIN)
    return chunks.Data(
        draw(U32), draw(U16), draw(U32 if interleaved else U16),
        draw(U32) if first or not interleaved else 0, draw(st.binary(max_size=24)), flags,
        draw(U32) if interleaved and not first else 0, interleaved,
    )  # fmt: skip


@st.composite
def sacks(draw: st.DrawFn) -> chunks.Sack:
    """SACK; gaps in any order, as a liar would send them."""
    gaps = draw(st.lists(st.tuples(U16, U16), max_size=4))
    flat = tuple(bound for pair in gaps for bound in pair)
    return chunks.Sack(draw(U32), draw(U32), flat, tuple(draw(st.lists(U32, max_size=3))))


@st.composite
def forwards(draw: st.DrawFn) -> chunks.ForwardTsn:
    """FORWARD-TSN and I-FORWARD-TSN."""
    interleaved = draw(st.booleans())
    skipped = st.builds(
        chunks.SkippedStream, U16, U32 if interleaved else U16, st.booleans() if interleaved else st.just(False)
    )
    return chunks.ForwardTsn(draw(U32), tuple(draw(st.lists(skipped, max_size=4))), interleaved)


CHUNKS: st.SearchStrategy[chunks.Chunk] = st.one_of(
    data_chunks(),
    sacks(),
    forwards(),
    st.builds(chunks.Init, U32.filter(bool), U32, POSITIVE, POSITIVE, U32, PARAMETERS, st.booleans()),
    st.builds(chunks.Heartbeat, st.binary(max_size=20), st.booleans()),
    st.builds(chunks.Abort, PARAMETERS, st.booleans()),
    st.builds(chunks.ErrorChunk, PARAMETERS),
    st.builds(chunks.Shutdown, U32),
    st.builds(chunks.Signal, st.sampled_from([8, 11])),
    st.builds(chunks.Signal, st.just(14), st.booleans()),
    st.builds(chunks.CookieEcho, st.binary(max_size=20)),
    st.builds(chunks.ReConfig, PARAMETERS),
    st.builds(chunks.Unknown, st.sampled_from([12, 13, 15, 63, 128, 193, 255]), U8, st.binary(max_size=12)),
)


def packets() -> st.SearchStrategy[bytes]:
    """Whole packets."""
    return st.builds(
        lambda source, destination, tag, found: serialize_packet(
            source, destination, tag, [chunk.serialize() for chunk in found]
        ),
        U16, U16, U32, st.lists(CHUNKS, min_size=1, max_size=4),
    )  # fmt: skip


def resealed(data: bytes) -> bytes:
    """With the right checksum, so that the damage is looked at."""
    if len(data) < 12:
        return data
    return data[:8] + packet_checksum(data).to_bytes(4, "little") + data[12:]


def hostile() -> st.SearchStrategy[bytes]:
    """Anything, mostly behind a right checksum."""
    return st.one_of(mutation.hostile(packets()).map(resealed), mutation.mutated(packets()))


OPENS = st.builds(
    lambda label, protocol, ordered, limit, value, priority: dcep.Open(
        label, protocol, ordered, value if limit == 1 else None, value if limit == 2 else None, priority
    ),
    st.text(max_size=12), st.text(max_size=12), st.booleans(), st.integers(0, 2), U32, U16,
)  # fmt: skip


def hostile_dcep() -> st.SearchStrategy[bytes]:
    """Anything that may come under DCEP's payload protocol identifier."""
    return mutation.hostile(OPENS.map(dcep.Open.serialize))
