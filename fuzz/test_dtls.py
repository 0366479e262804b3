"""For any input either records, fragments or an alert that serialise to the same bytes, or MalformedPacket with a known
reason; every input whole and cut at every byte. Reassembly gives what was sent or nothing, in order, in bounded memory.
"""

from hypothesis import given
from hypothesis import strategies as st

from fuzz.oracle import attempt, cuts, examples, verdict
from fuzz.strategies.dtls import fragments, hostile, hostile_fragments
from fuzz.strategies.mutation import mutated
from shm.errors import MalformedPacket
from tests.dtls.test_records import pair
from transceiverd.dtls.alerts import parse_alert, serialize_alert
from transceiverd.dtls.messages import Fragment, parse_fragments
from transceiverd.dtls.reasons import DROP_REASONS
from transceiverd.dtls.reassembly import AHEAD_MAX, MessageReassembly
from transceiverd.dtls.records import APPLICATION_DATA, RecordLayer12, parse_records
from transceiverd.dtls.suites import SUITES, CipherSuite

REASONS = frozenset(DROP_REASONS)
BYTES_MAX = 120


@examples(100)
@given(data=hostile())
def test_dtls_records_any_bytes(data: bytes) -> None:
    for part in cuts(data):
        found = verdict(parse_records, part, REASONS)
        assert isinstance(found, str) or b"".join(record.serialize() for record in found) == part


@examples(100)
@given(data=hostile_fragments())
def test_dtls_messages_any_bytes(data: bytes) -> None:
    for part in cuts(data):
        found = verdict(parse_fragments, part, REASONS)
        if not isinstance(found, str):
            assert b"".join(piece.serialize() for piece in found) == part
            assert all(piece.offset + len(piece.body) <= piece.length for piece in found)


@examples(100)
@given(data=st.binary(max_size=4))
def test_dtls_alerts_any_bytes(data: bytes) -> None:
    found = verdict(parse_alert, data, REASONS)
    assert isinstance(found, str) or (serialize_alert(found) == data and found.name)


def expected_messages(added: list[Fragment], taken: list[Fragment]) -> None:
    """Each byte of a message given out came in a fragment of that message at that place, and all bytes are there."""
    for message in taken:
        assert len(message.body) == message.length
        places: list[set[int]] = [set() for _ in range(message.length)]
        for piece in added:
            if piece.message_sequence == message.message_sequence and piece.length == message.length:
                for at, byte in enumerate(piece.body):
                    places[piece.offset + at].add(byte)
        assert all(byte in place for byte, place in zip(message.body, places, strict=True))


@examples(150)
@given(pieces=st.lists(fragments(), max_size=40), take_every=st.integers(1, 6))
def test_dtls_reassembly_any_fragments(pieces: list[Fragment], take_every: int) -> None:
    """Model: the fragments that were not refused. Messages leave once, in order; memory never passes its bound by more
    than the one whole message that is next, and what is held is what is not given out."""
    reassembly = MessageReassembly(message_bytes_max=20, bytes_max=BYTES_MAX)
    added: list[Fragment] = []
    taken: list[Fragment] = []
    for place, piece in enumerate(pieces):
        refused = attempt(MalformedPacket, reassembly.add, piece)
        if isinstance(refused, MalformedPacket):
            assert refused.reason in REASONS
        else:
            added.append(piece)
        assert 0 <= reassembly.bytes_held <= BYTES_MAX + 20
        if place % take_every == 0:
            taken += reassembly.take()
    taken += reassembly.take()
    assert [message.message_sequence for message in taken] == list(range(len(taken)))
    assert reassembly.next_sequence == len(taken)
    expected_messages(added, taken)
    # Everything ahead fits in the window: what is held can be said without looking inside.
    waiting = {p.message_sequence: p.length for p in added if len(taken) <= p.message_sequence < len(taken) + AHEAD_MAX}
    assert reassembly.bytes_held <= 20 * len(waiting)


@examples(80)
@given(suite=st.sampled_from(SUITES), plaintext=st.binary(max_size=40), data=st.data())
def test_dtls_record_layer_opens_nothing_that_was_not_sealed(
    suite: CipherSuite, plaintext: bytes, data: st.DataObject
) -> None:
    """Whatever is done to a sealed record: refused with a known reason and without a trace, or it is the very same."""
    client, server = pair(suite)
    sealed = RecordLayer12(client).seal(APPLICATION_DATA, plaintext)
    layer = RecordLayer12(server)
    changed = data.draw(mutated(st.just(sealed)))
    found = verdict(parse_records, changed, REASONS)
    for record in [] if isinstance(found, str) else found:
        before = (server.read_highest, server.read_window)
        opened = attempt(MalformedPacket, layer.open, record)
        if isinstance(opened, MalformedPacket):
            assert opened.reason in REASONS
            assert (server.read_highest, server.read_window) == before
        else:
            assert opened == plaintext
            assert record.serialize() == sealed
