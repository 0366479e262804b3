"""Channels opened, used, closed and their ids used again while packets are lost and processes die."""

import pytest

from tests.link import Endpoint, Link
from tests.sctp.peers import Mortal, association, messages, opened
from transceiverd.engine import Closed
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.events import ChannelClosed


def live(seed: int, loss: float, death: float) -> None:
    """Three lives of the same ids; every life's messages arrive under its own label."""
    config = DataChannelConfig(interleaving=bool(seed % 2))
    ends = [
        Endpoint(Mortal(association(role, 2 * seed + place, config), seed + place, death), name=role)
        for place, role in enumerate(("client", "server"))
    ]
    wire = Link(*ends, seed=seed, loss=loss, duplicates=loss / 2, delay_ms=(5, 60))
    for end in ends:
        end.engine.start(wire.now)
    left, right = wire.left.engine, wire.right.engine
    for turn in range(3):
        ids = [left.open_channel(f"{turn} {number}", ordered=bool(number % 2)) for number in range(4)]
        assert ids == [0, 2, 4, 6]
        for stream_id in ids:
            left.send(stream_id, f"{turn} {stream_id}".encode() * 300, False, wire.now)
        assert wire.run(until=lambda turn=turn: len(messages(wire.right)) == 4 * (turn + 1), seconds=120)
        closer = (left, right)[(seed + turn) % 2]
        for stream_id in ids:
            closer.engine.close_channel(stream_id, wire.now)
        assert wire.run(until=lambda: not left.engine.channels and not right.engine.channels, seconds=120)
    wire.drain()
    assert sorted(messages(wire.right)) == sorted(
        f"{turn} {stream_id}".encode() * 300 for turn in range(3) for stream_id in (0, 2, 4, 6)
    )
    assert sorted(event.label for event in opened(wire.right)) == [f"{a} {b}" for a in range(3) for b in range(4)]
    for end in ends:
        assert sum(isinstance(event, ChannelClosed) for event in end.events) == 12
        assert not end.saw(Closed)


@pytest.mark.parametrize("seed", range(60))
def test_channels_live_through_loss_and_deaths(seed: int) -> None:
    live(seed, loss=0.1, death=0.05 * (seed % 3))


@pytest.mark.system
@pytest.mark.anytime
def test_channels_live_through_loss_and_deaths_thousand() -> None:
    for seed in range(1_000, 2_000):
        live(seed, loss=0.05 * (seed % 5), death=0.05 * (seed % 4))
