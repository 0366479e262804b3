"""Associations begin: INITs that collide, cookies that lie, SNAP, restarts, peers that do not answer."""

import pytest

from shm.errors import MalformedPacket
from tests.link import Endpoint, Link
from tests.sctp.peers import PORT, association, established, messages, opened, pair, random_source
from transceiverd.engine import SECOND, Closed
from transceiverd.sctp import chunks
from transceiverd.sctp.chunks import Abort, CookieEcho, Init, Shutdown, Signal
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.events import AssociationEstablished, ChannelClosed
from transceiverd.sctp.initiation import STATE_COOKIE, make_init, new_init
from transceiverd.sctp.packet import parse_packet, serialize_packet
from transceiverd.sctp.states import State


def kinds(end: Endpoint) -> list[type]:
    """Types of the chunks that one end sent."""
    return [type(chunk) for _, data in end.sent for chunk in parse_packet(data, True).chunks]


def to(end: Endpoint, chunk: chunks.Chunk, tag: int | None = None) -> bytes:
    """A packet for one end, with its own tag unless another is given."""
    return serialize_packet(PORT, PORT, end.engine.local_tag if tag is None else tag, [chunk.serialize()])


@pytest.mark.parametrize("seed", range(30))
def test_handshake_collides_on_any_link(seed: int) -> None:
    """Both send an INIT; whatever is lost or overtaken, both are established once and talk."""
    wire = pair(seed, loss=0.3, duplicates=0.2, delay_ms=(5, 300))
    assert wire.run(until=lambda: wire.left.engine.state == wire.right.engine.state == State.ESTABLISHED, seconds=60)
    stream_id = wire.left.engine.open_channel("c")
    wire.left.engine.send(stream_id, b"hello", True, wire.now)
    assert wire.run(until=lambda: messages(wire.right) == [b"hello"], seconds=60)
    for end in (wire.left, wire.right):
        assert end.events.count(AssociationEstablished()) == 1


def test_handshake_one_side_takes_two_round_trips() -> None:
    wire = Link(Endpoint(association("client", 1)), Endpoint(association("server", 2)), delay_ms=(10, 10))
    wire.left.engine.start(wire.now)
    begun = wire.now
    assert wire.run(until=lambda: wire.left.engine.state is State.ESTABLISHED, seconds=1)
    assert wire.now - begun == 40_000_000


def snap_pair(**link: object) -> Link:
    """Both INITs went through the SDP."""
    config = DataChannelConfig()
    inits = [make_init(config, random_source(seed)) for seed in (1, 2)]
    left = association("client", 1, local_init=inits[0], remote_init=inits[1])
    right = association("server", 2, local_init=inits[1], remote_init=inits[0])
    return Link(Endpoint(left), Endpoint(right), **link)  # type: ignore[arg-type]


def test_snap_needs_no_exchange() -> None:
    """No INIT, no cookie, no timer before the start; the first packet carries data."""
    wire = snap_pair(delay_ms=(10, 10))
    left, right = wire.left.engine, wire.right.engine
    assert left.next_timeout() is right.next_timeout() is None
    stream_id = left.open_channel("c")
    left.send(stream_id, b"hello", True, wire.now)
    begun = wire.now
    left.start(wire.now)
    right.start(wire.now)
    assert left.state == right.state == State.ESTABLISHED
    assert wire.run(until=lambda: messages(wire.right) == [b"hello"], seconds=1)
    assert wire.now - begun == 10_000_000
    wire.run(seconds=1)
    assert not {Init, CookieEcho} & {*kinds(wire.left), *kinds(wire.right)}


def test_snap_interleaves_if_both_do() -> None:
    wire = snap_pair()
    for end in (wire.left, wire.right):
        end.engine.start(wire.now)
        assert end.engine.reception_now().interleaved
        assert end.engine.transmission.interleaved


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\x00\x00\x14" + bytes(16), b"\x02\x00\x00\x14" + b"\1" * 16])
def test_snap_refuses_what_is_no_init(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        association("client", remote_init=data)


def test_snap_only_one_side_knows() -> None:
    """Our answer carried an INIT, the peer's offer did not: the ordinary handshake."""
    local = make_init(DataChannelConfig(), random_source(5))
    wire = Link(Endpoint(association("client", 1, local_init=local)), Endpoint(association("server", 2)))
    wire.left.engine.start(wire.now)
    wire.right.engine.start(wire.now)
    assert wire.run(until=lambda: wire.left.engine.state is State.ESTABLISHED, seconds=2)


def test_handshake_init_flood_keeps_nothing() -> None:
    """Ten thousand INITs: as many stateless answers as are fetched, and not a byte more state."""
    victim = association("server", 1)
    before = len(victim.save())
    for seed in range(10_000):
        init = new_init(DataChannelConfig(), random_source(seed))
        victim.receive_datagram(serialize_packet(PORT, PORT, 0, [init.serialize()]), SECOND)
    answers = 0
    while (data := victim.poll_datagram()) is not None:
        answers += 1
        assert len(data) < 200
    assert 0 < answers <= 16
    assert len(victim.save()) == before
    assert victim.state is State.CLOSED
    assert victim.reception is None


def cookie_of(victim: Endpoint, wire: Link, seed: int = 9) -> tuple[Init, bytes]:
    """An INIT of a third party, and the cookie that it is answered with."""
    init = new_init(DataChannelConfig(), random_source(seed))
    victim.engine.receive_datagram(serialize_packet(PORT, PORT, 0, [init.serialize()]), wire.now)
    answer = parse_packet(victim.engine.poll_datagram(), True)
    assert answer.tag == init.tag
    (ack,) = answer.chunks
    assert isinstance(ack, Init)
    return ack, next(value for kind, value in ack.parameters if kind == STATE_COOKIE)


def test_handshake_forged_cookie() -> None:
    wire = established()
    ack, cookie = cookie_of(wire.right, wire)
    for place in range(len(cookie)):
        changed = cookie[:place] + bytes([cookie[place] ^ 1]) + cookie[place + 1 :]
        wire.inject(wire.right, to(wire.right, CookieEcho(changed), ack.tag))
    assert wire.right.engine.drops["cookie-forged"] == len(cookie)
    assert wire.right.events.count(AssociationEstablished()) == 1


def test_handshake_stale_cookie() -> None:
    victim = Endpoint(association("server", 1))
    wire = Link(Endpoint(association("client", 2)), victim)
    ack, cookie = cookie_of(victim, wire)
    wire.now += 61 * SECOND
    victim.engine.receive_datagram(to(victim, CookieEcho(cookie), ack.tag), wire.now)
    assert victim.engine.drops["cookie-stale"] == 1
    assert victim.engine.state is State.CLOSED
    (report,) = parse_packet(victim.engine.poll_datagram(), True).chunks
    assert isinstance(report, chunks.ErrorChunk)
    assert report.causes == ((3, (1_000_000).to_bytes(4, "big")),)  # a second too late, in microseconds


def test_handshake_restart_by_the_peer() -> None:
    """The peer lost everything and begins again: channels are told closed, then data flows anew."""
    wire = established()
    stream_id = wire.left.engine.open_channel("before")
    wire.run(seconds=1)
    wire.left.engine = association("client", 99)
    wire.left.engine.start(wire.now)
    assert wire.run(until=lambda: wire.right.events.count(AssociationEstablished()) == 2, seconds=5)
    assert ChannelClosed(stream_id) in wire.right.events
    again = wire.left.engine.open_channel("after")
    wire.left.engine.send(again, b"hello", True, wire.now)
    assert wire.run(until=lambda: messages(wire.right) == [b"hello"], seconds=5)
    assert opened(wire.right)[-1].label == "after"


def test_handshake_init_in_established_changes_nothing() -> None:
    wire = established()
    before = wire.right.engine.save()
    cookie_of(wire.right, wire)
    assert wire.right.engine.save() == before


def test_handshake_unanswered() -> None:
    wire = pair()
    wire.up = False
    assert wire.run(until=lambda: Closed("init unanswered") in wire.left.events, seconds=120)
    assert wire.left.engine.next_timeout() is None


WRONG = {
    "wrong tag": (Shutdown(1), 12345, "tag-wrong"),
    "tag zero": (Shutdown(1), 0, "tag-wrong"),
    "abort with a wrong tag": (Abort(), 12345, "tag-wrong"),
    "reflected abort with our tag": (Abort((), True), None, "tag-wrong"),
    "shutdown complete out of the blue": (Signal(chunks.SHUTDOWN_COMPLETE), None, "shutdown-complete-unexpected"),
    "shutdown ack out of the blue": (Signal(chunks.SHUTDOWN_ACK), None, "shutdown-ack-unexpected"),
    "init with a tag": (Init(1, 5_000, 1, 1, 1), 99, "init-not-alone"),
    "init ack out of the blue": (Init(1, 5_000, 1, 1, 1, (), True), None, "init-ack-unexpected"),
}


@pytest.mark.parametrize("case", WRONG)
def test_handshake_wrong_packets_are_counted(case: str) -> None:
    chunk, tag, reason = WRONG[case]
    wire = established()
    wire.inject(wire.right, to(wire.right, chunk, tag))
    assert wire.right.engine.drops[reason] == 1
    assert wire.right.engine.state is State.ESTABLISHED


def test_handshake_ports_are_checked() -> None:
    wire = established()
    wire.inject(wire.right, serialize_packet(PORT, 9, wire.right.engine.local_tag, [Abort().serialize()]))
    assert wire.right.engine.drops["port-wrong"] == 1


def test_handshake_init_bundled() -> None:
    wire = established()
    parts = [Init(1, 5_000, 1, 1, 1).serialize(), Signal(chunks.COOKIE_ACK).serialize()]
    wire.inject(wire.right, serialize_packet(PORT, PORT, 0, parts))
    assert wire.right.engine.drops["init-not-alone"] == 1
