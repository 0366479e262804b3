"""For any input either chunks whose serialisation parses to the same, or MalformedPacket with a known reason.

Every input whole and cut at every byte, with its checksum and with the right one; twins agree; aiortc agrees but for
what is explained in `comparable`. The same for DCEP, and for a whole INIT as SNAP carries it.
"""

import struct
from types import ModuleType
from typing import Any

from aiortc import rtcsctptransport as aiortc_sctp
from hypothesis import given
from hypothesis import strategies as st

from fuzz.oracle import assert_linear, attempt, cuts, examples, verdict
from fuzz.strategies.sctp import CHUNKS, OPENS, hostile, hostile_dcep, packets, resealed
from tests.twins import load_compiled, load_uncompiled
from transceiverd.sctp import chunks, dcep

COMPILED = load_compiled("transceiverd.sctp.packet")
PLAIN = load_uncompiled("transceiverd.sctp.packet")
REASONS = frozenset(COMPILED.REASONS)
# Wholly uncompiled, chunks too: their compiled classes take nothing but bytes, and counting needs a kind of its own.
COUNTING = load_uncompiled("transceiverd.sctp.packet")
UNCOMPILED_CHUNKS = load_uncompiled("transceiverd.sctp.chunks")
for name in ("Data", "Sack", "new_data", "new_sack"):
    setattr(COUNTING, name, getattr(UNCOMPILED_CHUNKS, name))


def described(found: Any) -> Any:
    """A packet as plain values."""
    if isinstance(found, str):
        return found
    fields = [
        (type(chunk).__name__, *(chunk.fields() if hasattr(chunk, "fields") else chunk)) for chunk in found.chunks
    ]
    return (found.source_port, found.destination_port, found.tag, fields)


def written(module: ModuleType, found: Any) -> bytes:
    """A packet's bytes."""
    parts = [chunk.serialize() for chunk in found.chunks]
    data: bytes = module.serialize_packet(found.source_port, found.destination_port, found.tag, parts)
    return data


def check(module: ModuleType, data: bytes) -> Any:
    """The invariant for one input; what came of it."""
    found = verdict(module.parse_packet, data, REASONS)
    if not isinstance(found, str):
        assert described(module.parse_packet(written(module, found))) == described(found)
    return described(found)


def check_twins(part: bytes) -> None:
    """Both modules, and with the right checksum."""
    assert check(COMPILED, part) == check(PLAIN, part)
    sealed = resealed(part)
    assert check(COMPILED, sealed) == check(PLAIN, sealed)


def check_init(part: bytes) -> None:
    """A whole INIT chunk as SNAP carries it."""
    found = verdict(COMPILED.parse_init, part, REASONS)
    assert found == verdict(PLAIN.parse_init, part, REASONS)
    assert isinstance(found, str) or COMPILED.parse_init(found.serialize()) == found


@examples(60)
@given(data=hostile())
def test_sctp_any_bytes(data: bytes) -> None:
    for part in cuts(data):
        check_twins(part)


@examples(100)
@given(data=hostile())
def test_sctp_takes_linear_time(data: bytes) -> None:
    """Behind the checksum, which is native and takes one look at each byte."""
    assert_linear(lambda counted: COUNTING.parse_chunks(counted, 0), data[12:], REASONS, per_byte=10)


@examples(100)
@given(data=st.one_of(hostile().map(lambda data: data[12:]), CHUNKS.map(lambda chunk: chunk.serialize())))
def test_sctp_any_init(data: bytes) -> None:
    for part in cuts(data):
        check_init(part)


def comparable(found: Any) -> bool:
    """aiortc reads no I-DATA and no I-FORWARD-TSN, takes chunks of a few types for bytes, and is lax with a SACK's
    counts and with parameters that run over their chunk."""
    return all(isinstance(chunk, chunks.Data) and not chunk.interleaved for chunk in found.chunks)


@examples(150)
@given(data=st.one_of(packets(), hostile()))
def test_sctp_agrees_with_aiortc(data: bytes) -> None:
    """Whatever has a right checksum for one has it for the other; DATA is read alike.

    aiortc is asked about nothing else: a parameter of length 0, in an INIT or in a HEARTBEAT, which is opaque to us,
    keeps it in a loop that eats all memory (1.16).
    """
    ours = verdict(COMPILED.parse_packet, data, REASONS)
    if isinstance(ours, str):
        if ours in ("sctp-checksum", "sctp-short"):
            assert isinstance(attempt((ValueError, struct.error), aiortc_sctp.parse_packet, data), Exception)
        return
    if not comparable(ours):
        return
    theirs = aiortc_sctp.parse_packet(data)
    assert (ours.source_port, ours.destination_port, ours.tag) == theirs[:3]
    for mine, other in zip(ours.chunks, theirs[3], strict=True):
        assert (mine.tsn, mine.stream_id, mine.sequence, mine.ppid) == (
            other.tsn, other.stream_id, other.stream_seq, other.protocol,
        )  # fmt: skip
        assert (mine.payload, mine.flags) == (other.user_data, other.flags)


@examples(150)
@given(data=hostile_dcep())
def test_dcep_any_bytes(data: bytes) -> None:
    for part in cuts(data):
        found = verdict(dcep.parse_open, part, dcep.REASONS)
        assert isinstance(found, str) or dcep.parse_open(found.serialize()) == found


@examples(60)
@given(message=OPENS)
def test_dcep_what_is_written_reads_the_same(message: dcep.Open) -> None:
    assert dcep.parse_open(message.serialize()) == message
