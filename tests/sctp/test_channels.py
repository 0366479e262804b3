"""Channels: opened both ways, kept labels, every kind of message, closed, ids used again, bad OPENs."""

import pytest

from tests.link import Endpoint, Link
from tests.sctp.peers import association, established, messages, opened, pair
from transceiverd.sctp import dcep
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.events import BufferedAmountLow, ChannelClosed, MessageReceived
from transceiverd.sctp.outbound import OutboundMessage


def closed(end: Endpoint) -> list[int]:
    """Ids of the channels that ended at one end."""
    return [event.stream_id for event in end.events if isinstance(event, ChannelClosed)]


def test_channels_keep_what_open_says() -> None:
    wire = established()
    left = wire.left.engine
    left.open_channel("größe", "json", ordered=False, max_retransmits=3, priority=1024)
    left.open_channel("x", max_lifetime_ms=250, priority=128)
    wire.run(seconds=1)
    first, second = opened(wire.right)
    assert tuple(first) == (0, "größe", "json", False, 3, None, 1024, False)
    assert tuple(second) == (2, "x", "", True, None, 250, 128, False)
    assert opened(wire.left) == opened(wire.right)


def test_channels_ids_follow_the_dtls_role() -> None:
    wire = established()
    assert [wire.left.engine.open_channel() for _ in range(3)] == [0, 2, 4]
    assert [wire.right.engine.open_channel() for _ in range(3)] == [1, 3, 5]
    with pytest.raises(ValueError, match="parity"):
        wire.left.engine.open_channel(stream_id=7)
    with pytest.raises(ValueError, match="taken"):
        wire.left.engine.open_channel(stream_id=2)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 1_151, 1_152, 1_153, 65_536, 262_144])
@pytest.mark.parametrize("is_text", [False, True])
def test_channels_carry_every_size_both_ways(size: int, is_text: bool) -> None:
    wire = established()
    left, right = wire.left.engine, wire.right.engine
    stream_id = left.open_channel("c")
    data = b"\x61" * size
    assert left.send(stream_id, data, is_text, wire.now)
    wire.run(until=lambda: bool(messages(wire.right)), seconds=20)
    assert right.send(stream_id, data, is_text, wire.now)
    wire.run(until=lambda: bool(messages(wire.left)), seconds=20)
    for end in (wire.left, wire.right):
        assert [event for event in end.events if isinstance(event, MessageReceived)] == [
            MessageReceived(stream_id, data, is_text)
        ]


def test_channels_send_before_the_handshake() -> None:
    """Messages of a channel opened at once ride behind the cookie: data after one round trip and a half."""
    left, right = association("client", 1), association("server", 2)
    wire = Link(Endpoint(left), Endpoint(right), delay_ms=(10, 10))
    stream_id = left.open_channel("early")
    assert left.send(stream_id, b"first", True, wire.now)
    left.start(wire.now)
    begun = wire.now
    assert wire.run(until=lambda: messages(wire.right) == [b"first"], seconds=5)
    assert wire.now - begun == 30_000_000


def test_channels_hundred_used_closed_and_used_again() -> None:
    wire = established(delay_ms=(5, 5))
    left, right = wire.left.engine, wire.right.engine
    for turn in range(3):
        ids = [left.open_channel(f"{turn} {number}") for number in range(100)]
        assert ids == list(range(0, 200, 2))
        for stream_id in ids:
            assert left.send(stream_id, f"{turn} {stream_id}".encode(), True, wire.now)
        assert wire.run(until=lambda turn=turn: len(messages(wire.right)) == 100 * (turn + 1), seconds=30)
        for stream_id in ids:
            (left if stream_id % 4 else right).close_channel(stream_id, wire.now)
        assert wire.run(until=lambda: not left.channels and not right.channels, seconds=30)
        assert sorted(closed(wire.left)) == sorted(closed(wire.right)) == sorted(ids * (turn + 1))
    assert len(messages(wire.right)) == 300


def test_channels_close_delivers_what_is_queued() -> None:
    wire = established(loss=0.1, seed=4)
    left = wire.left.engine
    stream_id = left.open_channel("c")
    for number in range(20):
        left.send(stream_id, bytes([number]) * 5_000, False, wire.now)
    left.close_channel(stream_id, wire.now)
    assert not left.send(stream_id, b"late", False, wire.now)
    assert wire.run(until=lambda: closed(wire.left) == closed(wire.right) == [stream_id], seconds=60)
    assert messages(wire.right) == [bytes([number]) * 5_000 for number in range(20)]


def test_channels_close_before_the_handshake() -> None:
    wire = pair()
    stream_id = wire.left.engine.open_channel("short")
    wire.left.engine.close_channel(stream_id, wire.now)
    assert wire.run(until=lambda: closed(wire.left) == [stream_id] == closed(wire.right), seconds=5)


def test_channels_negotiated_on_both_sides() -> None:
    wire = established()
    for end in (wire.left, wire.right):
        assert end.engine.open_channel("agreed", negotiated=True, stream_id=7) == 7
    wire.left.engine.send(7, b"hello", True, wire.now)
    wire.run(until=lambda: bool(messages(wire.right)), seconds=5)
    assert opened(wire.right)[0].negotiated
    assert not any(b"agreed" in data for _, data in wire.left.sent)


def test_channels_unannounced_are_adopted_if_allowed() -> None:
    for allowed in (True, False):
        wire = established(right_config=DataChannelConfig(unannounced_channels=allowed))
        wire.left.engine.open_channel(negotiated=True, stream_id=100)
        wire.left.engine.send(100, b"hello", True, wire.now)
        wire.run(seconds=2)
        assert messages(wire.right) == ([b"hello"] if allowed else [])
        assert wire.right.engine.drops["channel-unknown"] == (0 if allowed else 1)
        assert wire.right.engine.send(100, b"back", True, wire.now) is allowed


def test_channels_unordered_goes_ordered_until_confirmed() -> None:
    """RFC 8832 6: else a message could arrive before the OPEN."""
    for seed in range(20):
        wire = established(seed, delay_ms=(5, 80))
        stream_id = wire.left.engine.open_channel("u", ordered=False)
        for number in range(5):
            wire.left.engine.send(stream_id, bytes([number]), False, wire.now)
        wire.run(until=lambda wire=wire: len(messages(wire.right)) == 5, seconds=5)
        assert opened(wire.right)[0].label == "u"
        assert wire.right.engine.drops["channel-unknown"] == 0


def test_channels_back_pressure() -> None:
    """A full send buffer refuses, and says when there is room again."""
    config = DataChannelConfig(send_buffer_bytes=100_000)
    wire = established(config=config)
    left = wire.left.engine
    stream_id = left.open_channel("bulk")
    count = 0
    while left.send(stream_id, bytes(9_000), False, wire.now):
        count += 1
    assert 8 <= count <= 11
    assert left.buffered_amount(stream_id) > 50_000
    low = BufferedAmountLow(stream_id)
    assert wire.run(until=lambda: low in wire.left.events, seconds=5)
    assert left.send(stream_id, bytes(9_000), False, wire.now)


def test_channels_message_longer_than_the_peer_takes() -> None:
    left = association("client", remote_max_message_size=1_000)
    stream_id = left.open_channel("c")
    assert left.send(stream_id, bytes(1_000), False, 0)
    with pytest.raises(ValueError, match="1000"):
        left.send(stream_id, bytes(1_001), False, 0)


BAD_OPENS = {
    "dcep-short": b"\x03\x00",
    "dcep-type": b"\x07" + bytes(11),
    "dcep-channel-type": b"\x03\x05" + bytes(10),
    "dcep-length": b"\x03\x00\x01\x00\x00\x00\x00\x00\x00\x05\x00\x00abc",
    "dcep-text": b"\x03\x00\x01\x00\x00\x00\x00\x00\x00\x02\x00\x00\xff\xff",
    "dcep-open-parity": dcep.Open("wrong side", "").serialize(),
    "dcep-open-twice": dcep.Open("again", "").serialize(),
}


@pytest.mark.parametrize("reason", BAD_OPENS)
def test_channels_bad_open_closes_the_stream(reason: str) -> None:
    wire = established()
    left, right = wire.left.engine, wire.right.engine
    if reason == "dcep-open-parity":
        left.parity = 1
    stream_id = left.open_channel("good")
    queue = left.transmission.queue.streams[stream_id].queue
    if reason == "dcep-open-twice":
        wire.run(seconds=1)
        dcep_message = BAD_OPENS[reason]
        left.transmission.push(OutboundMessage(stream_id, dcep.PPID_DCEP, dcep_message, False))
    else:
        queue[0].data = BAD_OPENS[reason]
        left.transmission.queue.streams[stream_id].waiting = len(queue[0].data)
    assert wire.run(until=lambda: closed(wire.left) == [stream_id], seconds=5)
    assert right.drops[reason] == 1
    assert not right.channels
    left.parity = 0
    assert left.open_channel("next") is not None
    wire.run(seconds=2)
    assert opened(wire.right)[-1].label == "next"


def test_channels_buffered_amount_low() -> None:
    wire = established()
    left = wire.left.engine
    stream_id = left.open_channel("c")
    wire.run(seconds=1)
    left.set_buffered_amount_low(stream_id, 100_000)
    left.send(stream_id, bytes(200_000), False, wire.now)
    assert wire.run(until=lambda: BufferedAmountLow(stream_id) in wire.left.events, seconds=5)
    assert 0 < left.buffered_amount(stream_id) <= 100_000


def test_channels_close_towards_a_peer_without_reset() -> None:
    """The queue still goes out; then the channel is simply gone on our side."""
    left, right = association("client", 1), association("server", 2)
    plain = right.local_init._replace(parameters=())
    right.local_init, right.remote_init, right.has_local_init = plain, left.local_init, True
    left.remote_init, left.has_local_init = plain, True
    wire = Link(Endpoint(left), Endpoint(right))
    left.start(wire.now)
    right.start(wire.now)
    stream_id = left.open_channel("c")
    left.send(stream_id, bytes(100_000), False, wire.now)
    wire.run(seconds=0.015)
    left.close_channel(stream_id, wire.now)
    assert wire.run(until=lambda: closed(wire.left) == [stream_id], seconds=5)
    wire.run(seconds=5)
    assert messages(wire.right) == [bytes(100_000)]
    assert left.transmission.buffered == 0


def test_channels_messages_behind_a_bad_open_are_not_adopted() -> None:
    wire = established()
    left = wire.left.engine
    left.parity = 1
    stream_id = left.open_channel("wrong side")
    left.send(stream_id, b"hello", True, wire.now)
    wire.run(seconds=2)
    assert not messages(wire.right)
    assert wire.right.engine.drops["channel-closing"] == 1


@pytest.mark.parametrize("late", [False, True])
def test_channels_id_used_again_before_the_answer_to_a_reset(late: bool) -> None:
    """An id is free for the peer once it has answered our reset. That answer may be lost or overtaken by the next OPEN,
    or a process may die with it, since nothing leaves and so nothing is written. The OPEN was refused then, and the new
    channel's messages went nowhere."""
    wire = established()
    left, right = wire.left.engine, wire.right.engine
    stream_id = left.open_channel("old")
    wire.run(seconds=1)
    left.close_channel(stream_id, wire.now)
    answers: list[bytes] = []
    policy = wire.policy

    def hold(direction: int, number: int, data: bytes) -> list[int]:
        if direction == 0 and not left.channels:
            answers.append(data)
            return []
        return policy(direction, number, data)

    wire.policy = hold
    assert wire.run(until=lambda: bool(answers), seconds=5)
    wire.policy = policy
    assert list(right.channels) == [stream_id]
    assert left.open_channel("new") == stream_id
    left.send(stream_id, b"first", True, wire.now)
    assert wire.run(until=lambda: messages(wire.right) == [b"first"], seconds=0.1)
    assert opened(wire.right)[-1].label == "new"
    right.send(stream_id, b"second", True, wire.now)
    for answer in answers * late:
        wire.inject(wire.right, answer)
    right.send(stream_id, b"third", True, wire.now)
    assert wire.run(until=lambda: messages(wire.left) == [b"second", b"third"], seconds=5)
    left.close_channel(stream_id, wire.now)
    assert wire.run(until=lambda: not left.channels and not right.channels, seconds=5)
    assert closed(wire.left)[-1] == closed(wire.right)[-1] == stream_id
