"""DTLS: records, datagrams of records, handshake fragments; valid and nearly so."""

import msgspec
from hypothesis import strategies as st

from fuzz.strategies import mutation
from transceiverd.dtls.messages import Fragment
from transceiverd.dtls.records import SEQUENCE_MAX, Record

RECORDS = st.builds(
    Record,
    content_type=st.integers(20, 23),
    version=st.sampled_from([0xFEFD, 0xFEFF]),
    epoch=st.integers(0, 3),
    sequence=st.one_of(st.integers(0, 100), st.integers(0, SEQUENCE_MAX)),
    body=st.binary(max_size=40),
)


@st.composite
def fragments(draw: st.DrawFn, sequences: int = 12) -> Fragment:
    """A piece of a message, inside of it; messages are short, so that pieces meet."""
    length = draw(st.sampled_from([0, 1, 5, 8, 30]))
    offset = draw(st.integers(0, max(0, length - 1)))
    size = draw(st.integers(min(1, length - offset), length - offset))
    body = draw(st.binary(min_size=size, max_size=size))
    return Fragment(draw(st.sampled_from([1, 2, 11, 20])), length, draw(st.integers(0, sequences)), offset, body)


def datagrams() -> st.SearchStrategy[bytes]:
    """One to a few whole records, some of them with handshake fragments."""
    handshake = st.builds(
        lambda record, pieces: msgspec.structs.replace(
            record, content_type=22, body=b"".join(piece.serialize() for piece in pieces)
        ),
        RECORDS,
        st.lists(fragments(), min_size=1, max_size=3),
    )
    return st.lists(st.one_of(RECORDS, handshake), min_size=1, max_size=4).map(
        lambda records: b"".join(record.serialize() for record in records)
    )


def hostile() -> st.SearchStrategy[bytes]:
    """Anything a datagram of DTLS may be."""
    return mutation.hostile(datagrams())


def hostile_fragments() -> st.SearchStrategy[bytes]:
    """Anything the plaintext of a handshake record may be."""
    pieces = st.lists(fragments(), min_size=1, max_size=4)
    return mutation.hostile(pieces.map(lambda found: b"".join(piece.serialize() for piece in found)))
