"""A peer that lies: counted drops or a clean ABORT, memory bounded, nobody else touched."""

import random
from collections.abc import Callable

import pytest

from tests.link import Endpoint, Link
from tests.sctp.peers import PORT, established, messages
from transceiverd.engine import Closed
from transceiverd.sctp.chunks import (
    FLAG_BEGIN,
    FLAG_END,
    FLAG_UNORDERED,
    Abort,
    Chunk,
    Data,
    ForwardTsn,
    ReConfig,
    Sack,
    SkippedStream,
    Unknown,
)
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.packet import parse_packet, serialize_packet
from transceiverd.sctp.states import State
from transceiverd.sctp.tracker import GAPS_MAX

PLAIN = DataChannelConfig(interleaving=False)


def victim() -> Link:
    """The right end shall suffer; the left one is cut off, tests speak for it."""
    wire = established(config=PLAIN)
    wire.left.engine.open_channel("c")
    wire.run(seconds=1)
    wire.up = False
    return wire


def say(wire: Link, *said: Chunk) -> None:
    """One packet from the peer."""
    end = wire.right
    parts = [chunk.serialize() for chunk in said]
    wire.inject(end, serialize_packet(PORT, PORT, end.engine.local_tag, parts))


def next_tsn(wire: Link) -> int:
    """The TSN that the victim waits for."""
    return int(wire.right.engine.reception_now().tracker.cumulative + 1) & 0xFFFFFFFF


def aborted(end: Endpoint) -> bool:
    """Whether an ABORT was the last thing that an end sent."""
    return isinstance(parse_packet(end.sent[-1][1], True).chunks[-1], Abort)


def sent(wire: Link) -> int:
    """The last TSN that the victim sent."""
    return int(wire.right.engine.transmission.outstanding.next_tsn - 1) & 0xFFFFFFFF


FATAL: dict[str, tuple[Callable[[Link], Chunk], str]] = {
    "acknowledges what was never sent": (lambda w: Sack((sent(w) + 1) & 0xFFFFFFFF, 9_999), "sack-optimistic"),
    "acknowledges far beyond": (lambda w: Sack((sent(w) + 2**30) & 0xFFFFFFFF, 9_999), "sack-optimistic"),
    "gap block beyond what was sent": (lambda w: Sack(sent(w), 9_999, (2, 3)), "sack-optimistic"),
    "data without data": (lambda w: Data(next_tsn(w), 0, 1, 51, b""), "data-empty"),
    "i-data not agreed": (lambda w: Data(next_tsn(w), 0, 1, 51, b"x", interleaved=True), "data-kind"),
    "i-forward-tsn not agreed": (lambda w: ForwardTsn(next_tsn(w), (), True), "forward-kind"),
}


@pytest.mark.parametrize("case", FATAL)
def test_hostile_chunk_ends_the_association(case: str) -> None:
    make, reason = FATAL[case]
    wire = victim()
    say(wire, make(wire))
    assert wire.right.engine.drops[reason] == 1
    assert wire.right.events[-1] == Closed("protocol violation")
    assert aborted(wire.right)
    say(wire, make(wire))
    assert wire.right.engine.drops["sctp-closed"] == 1
    assert wire.right.engine.next_timeout() is None


COUNTED: dict[str, tuple[Callable[[Link], Chunk], str]] = {
    "sack with gaps that go back": (lambda w: Sack(sent(w), 9_999, (5, 6, 2, 3)), "sack-gaps"),
    "sack with a gap that ends before it starts": (lambda w: Sack(sent(w), 9_999, (5, 4)), "sack-gaps"),
    "sack with gap zero": (lambda w: Sack(sent(w), 9_999, (0, 1)), "sack-gaps"),
    "sack from the past": (lambda w: Sack((sent(w) - 5) & 0xFFFFFFFF, 9_999), "sack-old"),
    "tsn from the past": (lambda w: Data((next_tsn(w) - 1) & 0xFFFFFFFF, 0, 1, 51, b"x"), "tsn-duplicate"),
    "tsn half a turn away": (lambda w: Data((next_tsn(w) + 2**31 - 2) & 0xFFFFFFFF, 0, 1, 51, b"x"), "tsn-far"),
    "tsn beyond a gap block's reach": (lambda w: Data((next_tsn(w) + 65_535) & 0xFFFFFFFF, 0, 1, 51, b"x"), "tsn-far"),
    "forward into the past": (lambda w: ForwardTsn((next_tsn(w) - 1) & 0xFFFFFFFF), "forward-old"),
    "ppid nobody knows": (lambda w: Data(next_tsn(w), 0, 1, 99, b"x"), "ppid-unknown"),
    "sequence of a message long gone": (lambda w: Data(next_tsn(w), 0, 0xFFFF, 51, b"x"), "sequence-stale"),
    "unknown chunk": (lambda w: Unknown(0xFF, 0, b"hello"), "chunk-unknown"),
    "reset without anything": (lambda w: ReConfig(()), "reset-parameters"),
    "reset cut short": (lambda w: ReConfig(((13, bytes(5)),)), "reset-short"),
    "response to nothing": (lambda w: ReConfig(((16, bytes(8)),)), "reset-response"),
}


@pytest.mark.parametrize("case", COUNTED)
def test_hostile_chunk_is_counted(case: str) -> None:
    make, reason = COUNTED[case]
    wire = victim()
    say(wire, make(wire))
    assert wire.right.engine.drops[reason] == 1
    assert wire.right.engine.state is State.ESTABLISHED


def test_hostile_gaps_are_bounded() -> None:
    """Every second TSN: no more ranges than a SACK can report, the rest refused and asked for again."""
    wire = victim()
    first = next_tsn(wire)
    for place in range(2_000):
        say(wire, Data((first + 1 + 2 * place) & 0xFFFFFFFF, 0, place & 0xFFFF, 51, b"x", FLAG_BEGIN))
    engine = wire.right.engine
    assert len(engine.reception_now().tracker.gaps) == 2 * GAPS_MAX
    assert engine.drops["tsn-far"] == 2_000 - GAPS_MAX
    assert all(len(data) <= engine.config.mtu for _, data in wire.right.sent)


def fill(wire: Link, unordered: bool) -> None:
    """Fragments of messages that never end, one byte each, until they are refused or that ends it."""
    first = next_tsn(wire)
    flags = FLAG_BEGIN | (FLAG_UNORDERED if unordered else 0)
    for place in range(60_000):
        say(wire, Data((first + place) & 0xFFFFFFFF, place % 50, place // 50, 51, b"x", flags))
        if wire.right.engine.state is State.DONE:
            return


@pytest.mark.parametrize("unordered", [False, True])
def test_hostile_fragments_are_bounded(unordered: bool) -> None:
    """One-byte fragments cost what they cost: the receive buffer's bound counts their overhead."""
    wire = victim()
    fill(wire, unordered)
    engine = wire.right.engine
    assert engine.reception_now().reassembly.held <= engine.config.receive_buffer_bytes


def test_hostile_message_too_long() -> None:
    wire = victim()
    first = next_tsn(wire)
    for place in range(300):
        flags = FLAG_BEGIN if place == 0 else 0
        say(wire, Data((first + place) & 0xFFFFFFFF, 0, 1, 53, bytes(1_000), flags))
    assert wire.right.engine.drops["message-too-long"] == 1
    assert wire.right.events[-1] == Closed("protocol violation")


def test_hostile_streams_are_bounded() -> None:
    """One message on each of 65,535 streams: as many channels as configured, the rest acknowledged and reported."""
    wire = victim()
    first = next_tsn(wire)
    for place in range(3_000):
        say(wire, Data((first + place) & 0xFFFFFFFF, place + 10, 0, 51, b"x", FLAG_BEGIN | FLAG_END))
    engine = wire.right.engine
    assert len(engine.channels) <= engine.config.channels_max
    assert len(engine.reception_now().reassembly.streams) <= engine.config.channels_max
    assert engine.drops["streams-many"] > 1_900


def test_hostile_forward_names_every_stream() -> None:
    wire = victim()
    skipped = tuple(SkippedStream(number, 5) for number in range(3_000))
    say(wire, ForwardTsn(next_tsn(wire), skipped))
    assert len(wire.right.engine.reception_now().reassembly.streams) <= wire.right.engine.config.channels_max


def test_hostile_requests_are_not_amplified() -> None:
    """Questions whose answers are never fetched do not pile up."""
    wire = victim()
    engine = wire.right.engine
    packet = serialize_packet(PORT, PORT, engine.local_tag, [Unknown(0xC1, 0, bytes(100)).serialize()] * 10)
    for _ in range(1_000):
        engine.receive_datagram(packet, wire.now)
    assert len(engine.control) <= 16
    assert sum(len(data) for data in iter(engine.poll_datagram, None)) < len(packet) * 5


def test_hostile_zero_window_is_probed() -> None:
    """The peer closes its window for a minute, opens it, and everything arrives; the association does not die."""
    wire = established(config=PLAIN)
    left, right = wire.left.engine, wire.right.engine
    stream_id = left.open_channel("c")
    wire.run(seconds=1)
    right.reception_now().unfetched += right.config.receive_buffer_bytes
    said = [bytes([number]) * 3_000 for number in range(10)]
    for data in said:
        left.send(stream_id, data, False, wire.now)
    wire.run(seconds=60)
    assert not messages(wire.right)
    assert left.state is State.ESTABLISHED
    right.reception_now().unfetched -= right.config.receive_buffer_bytes
    assert wire.run(until=lambda: messages(wire.right) == said, seconds=20)


def test_hostile_application_that_does_not_fetch() -> None:
    """Back-pressure reaches the peer: an owner that polls no events holds a bounded amount, then all goes on."""
    wire = established(config=PLAIN)
    left, right = wire.left.engine, wire.right.engine
    stream_id = left.open_channel("c")
    wire.run(seconds=1)
    fetch = right.poll_event

    class Deaf:
        """The right engine, whose events nobody takes."""

        def __getattr__(self, name: str) -> object:
            return getattr(right, name)

        def poll_event(self) -> None:
            return None

    wire.right.engine = Deaf()
    total = 0
    for _ in range(400):
        while left.send(stream_id, bytes(50_000), False, wire.now):
            total += 1
        wire.run(seconds=0.1)
    assert right.reception_now().unfetched <= right.config.receive_buffer_bytes
    assert total * 50_000 <= 2 * right.config.receive_buffer_bytes
    wire.right.engine = right
    assert fetch() is not None
    assert wire.run(until=lambda: left.transmission.buffered == 0, seconds=30)


def test_hostile_noise() -> None:
    """Changed packets of a real conversation never raise, whatever state they meet."""
    for seed in range(300):
        rng = random.Random(seed)
        wire = established(seed, config=PLAIN if seed % 2 else None, loss=0.05)
        engine = wire.right.engine
        stream_id = wire.left.engine.open_channel("c", max_retransmits=seed % 3)
        wire.left.engine.send(stream_id, bytes(4_000), False, wire.now)
        wire.left.engine.close_channel(stream_id, wire.now)
        wire.run(seconds=0.3)
        for _, data in wire.left.sent:
            changed = bytearray(data)
            for _ in range(rng.randint(1, 4)):
                changed[rng.randrange(12, len(changed))] = rng.randrange(256)
            changed[8:12] = bytes(4)  # zero checksums are agreed
            engine.receive_datagram(bytes(changed), wire.now)
            while engine.poll_datagram() is not None:
                pass
        engine.save()
