"""How the sender judges SACKs and shares the path: losses, reneging, round trips, priorities."""

from tests.link import Link
from tests.sctp.peers import established, messages
from transceiverd.engine import MILLISECOND
from transceiverd.sctp.chunks import Sack
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.events import MessageReceived
from transceiverd.sctp.outbound import OutboundMessage
from transceiverd.sctp.outstanding import ACKED, IN_FLIGHT, LOST, Outstanding
from transceiverd.sctp.rto import RetransmissionTimeout


def in_flight(count: int) -> Outstanding:
    """TSNs 100 and on."""
    outstanding = Outstanding(100)
    for _ in range(count):
        outstanding.append(OutboundMessage(0, 53, bytes(1_000), False), 1_000, 0, 0)
    return outstanding


def states(outstanding: Outstanding) -> list[int]:
    return [chunk.state for chunk in outstanding.chunks[outstanding.head :]]


def test_outstanding_three_misses_are_a_loss() -> None:
    outstanding = in_flight(5)
    for end in (2, 3):
        outstanding.acknowledge(Sack(99, 9_999, (2, end)), 1)
        assert states(outstanding)[0] == IN_FLIGHT
    outstanding.acknowledge(Sack(99, 9_999, (2, 4)), 1)
    assert states(outstanding) == [LOST, ACKED, ACKED, ACKED, IN_FLIGHT]
    assert outstanding.flight == 1_016
    assert outstanding.lost == 1


def test_outstanding_the_same_sack_again_is_no_new_miss() -> None:
    outstanding = in_flight(3)
    for _ in range(10):
        outstanding.acknowledge(Sack(99, 9_999, (2, 2)), 1)
    assert states(outstanding)[0] == IN_FLIGHT


def test_outstanding_reneging_puts_it_back_in_flight() -> None:
    """RFC 9260 6.2.1: what a gap block said may be taken back until the cumulative TSN says it."""
    outstanding = in_flight(3)
    outstanding.acknowledge(Sack(99, 9_999, (2, 3)), 1)
    assert (states(outstanding), outstanding.flight) == ([IN_FLIGHT, ACKED, ACKED], 1_016)
    outstanding.acknowledge(Sack(100, 9_999), 1)
    assert (states(outstanding), outstanding.flight) == ([IN_FLIGHT, IN_FLIGHT], 2_032)
    outstanding.acknowledge(Sack(102, 9_999), 1)
    assert (outstanding.count(), outstanding.flight, outstanding.gap_acked) == (0, 0, 0)


def test_outstanding_measures_only_what_was_sent_once() -> None:
    """Karn: an acknowledgement of something sent twice says nothing about the round trip."""
    outstanding = in_flight(1)
    assert outstanding.acknowledge(Sack(100, 9_999), 7) == 7
    outstanding = in_flight(1)
    outstanding.lose_all()
    outstanding.resent(outstanding.chunks[0], 5)
    assert outstanding.acknowledge(Sack(100, 9_999), 7) == -1


def test_rto_follows_rfc_9260() -> None:
    rto = RetransmissionTimeout(500 * MILLISECOND, 250 * MILLISECOND, 4_000 * MILLISECOND)
    rto.measure(200 * MILLISECOND)
    assert rto.value == 600 * MILLISECOND  # SRTT + 4 x RTT/2
    for _ in range(200):
        rto.measure(20 * MILLISECOND)
    assert rto.value == 250 * MILLISECOND
    for _ in range(10):
        rto.back_off()
    assert rto.value == 4_000 * MILLISECOND
    rto.recover()
    assert rto.value == 250 * MILLISECOND


def test_sending_one_loss_costs_no_timeout() -> None:
    """A lost packet amid others is sent again by the SACKs of those behind it, within two round trips."""
    wire = established(delay_ms=(20, 20))
    left = wire.left.engine
    stream_id = left.open_channel("c")
    wire.run(seconds=1)
    seen: list[bytes] = []

    def lose_one(data: bytes) -> bytes | None:
        seen.append(data)
        return None if len(seen) == 2 else data

    wire.tamper = lose_one
    begun = wire.now
    left.send(stream_id, bytes(9_000), False, wire.now)
    assert wire.run(until=lambda: bool(messages(wire.right)), seconds=5)
    assert wire.now - begun <= 100 * MILLISECOND


def test_sending_delayed_sack_rides_on_data() -> None:
    """An echo needs one packet each way a message: the acknowledgement travels with the answer."""
    wire = established(delay_ms=(5, 5))
    left, right = wire.left.engine, wire.right.engine
    stream_id = left.open_channel("c")
    wire.run(seconds=1)
    before = len(wire.right.sent)
    for _ in range(10):
        left.send(stream_id, b"ping", True, wire.now)
        wire.run(seconds=0.006)
        right.send(stream_id, b"pong", True, wire.now)
        wire.run(seconds=0.006)
    assert len(wire.right.sent) - before <= 11


def order_of_arrival(wire: Link) -> list[int]:
    return [event.stream_id for event in wire.right.events if isinstance(event, MessageReceived)]


def test_sending_interleaves_a_short_message_into_a_long_one() -> None:
    """RFC 8260: with I-DATA the event does not wait for the bulk; without, it does."""
    for interleaving in (True, False):
        wire = established(config=DataChannelConfig(interleaving=interleaving))
        left = wire.left.engine
        bulk, event = left.open_channel("bulk"), left.open_channel("event")
        wire.run(seconds=1)
        left.send(bulk, bytes(200_000), False, wire.now)
        wire.run(seconds=0.03)
        left.send(event, b"now", True, wire.now)
        wire.run(seconds=10)
        assert order_of_arrival(wire) == ([event, bulk] if interleaving else [bulk, event])


def test_sending_shares_by_priority() -> None:
    """Four times the priority, four times the bytes while both have something to send."""
    wire = established(config=DataChannelConfig(interleaving=False))
    left = wire.left.engine
    low, high = left.open_channel("low", priority=128), left.open_channel("high", priority=512)
    wire.run(seconds=1)
    for _ in range(200):
        for stream_id in (low, high):
            left.send(stream_id, bytes(1_000), False, wire.now)
    wire.run(until=lambda: len(order_of_arrival(wire)) >= 100, seconds=10)
    first = order_of_arrival(wire)[:100]
    assert 75 <= first.count(high) <= 85
