"""Associations end: gracefully with everything delivered, or at once."""

import pytest

from tests.link import Link
from tests.sctp.peers import established, messages
from transceiverd.engine import Closed
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.states import State


def closed(wire: Link) -> list[str]:
    """Why each end closed."""
    ends = (wire.left, wire.right)
    return [event.reason for end in ends for event in end.events if isinstance(event, Closed)]


@pytest.mark.parametrize("seed", range(30))
def test_shutdown_delivers_everything_first(seed: int) -> None:
    wire = established(seed, loss=0.2, duplicates=0.1, delay_ms=(5, 60))
    stream_id = wire.left.engine.open_channel("c")
    said = [bytes([number]) * 2_000 for number in range(20)]
    for data in said:
        assert wire.left.engine.send(stream_id, data, False, wire.now)
    wire.left.engine.shutdown(wire.now)
    if seed % 3 == 0:
        wire.right.engine.shutdown(wire.now)
    assert wire.run(until=lambda: wire.left.engine.state is State.DONE, seconds=120)
    wire.run(until=lambda: wire.right.engine.state is State.DONE, seconds=120)
    assert messages(wire.right) == said
    assert set(closed(wire)) <= {"shut down", "peer shut down", "shutdown unanswered"}
    assert wire.left.engine.next_timeout() is wire.right.engine.next_timeout() is None


def test_abort_reaches_the_peer() -> None:
    wire = established()
    wire.left.engine.abort(wire.now, "going away")
    wire.run(seconds=1)
    assert closed(wire) == ["going away", "peer aborted"]
    assert not wire.left.engine.send(0, b"x", True, wire.now)


def test_abort_twice_says_it_once() -> None:
    wire = established()
    wire.left.engine.abort(wire.now)
    wire.left.engine.abort(wire.now)
    wire.left.engine.shutdown(wire.now)
    wire.run(seconds=1)
    assert closed(wire) == ["aborted", "peer aborted"]


def test_peer_that_is_gone_is_given_up() -> None:
    """Unacknowledged data for longer than ICE keeps a silent call, then the end; never sooner."""
    wire = established()
    stream_id = wire.left.engine.open_channel("c")
    wire.run(seconds=1)
    wire.up = False
    wire.left.engine.send(stream_id, b"anybody there?", True, wire.now)
    begun = wire.now
    assert wire.run(until=lambda: bool(closed(wire)), seconds=300)
    assert closed(wire) == ["retransmissions exhausted"]
    assert 60 < (wire.now - begun) / 1e9 < 120


def test_idle_peer_that_is_gone_is_found_by_heartbeat() -> None:
    wire = established(config=DataChannelConfig(heartbeat_interval_ms=1_000, retransmits_max=3))
    wire.run(seconds=20)
    assert not closed(wire)
    assert wire.left.engine.rto.round_trip
    wire.up = False
    assert wire.run(until=lambda: len(closed(wire)) == 2, seconds=60)
    assert closed(wire) == ["heartbeats unanswered"] * 2


def test_silent_minute_is_survived() -> None:
    """ICE may keep a call through 30 s of silence and more: what was under way then arrives."""
    wire = established()
    stream_id = wire.left.engine.open_channel("c")
    wire.run(seconds=1)
    wire.up = False
    wire.left.engine.send(stream_id, b"late", True, wire.now)
    wire.run(seconds=45)
    wire.up = True
    assert wire.run(until=lambda: messages(wire.right) == [b"late"], seconds=5)
