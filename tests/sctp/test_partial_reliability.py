"""Partial reliability as its limits say: what is given up is gone, all else comes, in order, and nothing stalls."""

import random

import pytest

from tests.link import Endpoint, Link
from tests.sctp.peers import Mortal, association, established, messages, opened
from transceiverd.sctp.chunks import Data
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.packet import parse_packet


def is_subsequence(some: list[bytes], whole: list[bytes]) -> bool:
    """Whether `some` is `whole` with pieces missing."""
    rest = iter(whole)
    return all(one in rest for one in some)


def transmissions(wire: Link) -> dict[int, int]:
    """How often the left end sent each TSN."""
    count: dict[int, int] = {}
    for _, data in wire.left.sent:
        for chunk in parse_packet(data, True).chunks:
            if isinstance(chunk, Data):
                count[chunk.tsn] = count.get(chunk.tsn, 0) + 1
    return count


@pytest.mark.parametrize("interleaving", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_partial_reliability_mixed(seed: int, ordered: bool, interleaving: bool) -> None:
    """A limited channel beside a reliable one, under loss: no duplicate, order kept, the reliable one complete."""
    config = DataChannelConfig(interleaving=interleaving)
    wire = established(seed, config=config, loss=0.15, duplicates=0.05, delay_ms=(5, 30))
    for end in (wire.left, wire.right):
        end.engine = Mortal(end.engine, seed, death=0.02 * (seed % 3))
    left, rng = wire.left.engine, random.Random(seed)
    limited = left.open_channel("limited", ordered=ordered, max_retransmits=seed % 2)
    timed = left.open_channel("timed", ordered=ordered, max_lifetime_ms=100)
    sure = left.open_channel("sure")
    said: dict[int, list[bytes]] = {limited: [], timed: [], sure: []}
    for number in range(60):
        stream_id = (limited, timed, sure)[number % 3]
        data = number.to_bytes(4, "big") + rng.randbytes(rng.choice((0, 500, 3_000, 9_000)))
        assert left.send(stream_id, data, False, wire.now)
        said[stream_id].append(data)
        wire.run(seconds=0.01)
    assert wire.run(until=lambda: left.transmission.buffered == 0, seconds=60)
    wire.run(seconds=2)
    assert messages(wire.right, sure) == said[sure]
    for stream_id in (limited, timed):
        heard = messages(wire.right, stream_id)
        assert len(set(heard)) == len(heard)
        assert is_subsequence(heard, said[stream_id]) if ordered else set(heard) <= set(said[stream_id])
        assert len(heard) > 3
    assert wire.right.engine.reception_now().reassembly.held == 0


def test_partial_reliability_no_retransmission() -> None:
    """max_retransmits 0: no TSN of the channel is ever sent twice, and later messages are not held up."""
    wire = established(1, delay_ms=(10, 10))
    left = wire.left.engine
    stream_id = left.open_channel("lossy", ordered=True, max_retransmits=0)
    wire.run(seconds=1)
    before = set(transmissions(wire))
    wire.up = False
    left.send(stream_id, b"lost", False, wire.now)
    wire.run(seconds=0.02)
    wire.up = True
    left.send(stream_id, b"heard", False, wire.now)
    assert wire.run(until=lambda: messages(wire.right) == [b"heard"], seconds=2)
    wire.run(seconds=5)
    assert all(count == 1 for tsn, count in transmissions(wire).items() if tsn not in before)
    assert left.transmission.buffered == 0


def test_partial_reliability_lifetime_in_queue() -> None:
    """A message whose lifetime ends before it was sent at all costs no TSN and no byte."""
    wire = established(2, delay_ms=(10, 10))
    left = wire.left.engine
    stream_id = left.open_channel("timed", max_lifetime_ms=50)
    wire.run(seconds=1)
    wire.up = False
    for _ in range(30):
        left.send(stream_id, bytes(10_000), False, wire.now)
    wire.run(seconds=1)
    wire.up = True
    left.send(stream_id, b"fresh", False, wire.now)
    assert wire.run(until=lambda: b"fresh" in messages(wire.right), seconds=10)
    assert wire.run(until=lambda: left.transmission.buffered == 0, seconds=10)
    assert len(transmissions(wire)) < 40


def test_partial_reliability_needs_the_peer() -> None:
    """A peer that does not know FORWARD-TSN gets everything, whatever the limit says."""
    left, right = association("client", 1), association("server", 2)
    plain = right.local_init._replace(parameters=())
    right.local_init = plain
    left.remote_init, left.has_local_init = plain, True
    right.remote_init, right.has_local_init = left.local_init, True
    wire = Link(Endpoint(left), Endpoint(right), loss=0.3, seed=5)
    left.start(wire.now)
    right.start(wire.now)
    stream_id = left.open_channel("limited", max_retransmits=0)
    wire.run(until=lambda: bool(opened(wire.right)), seconds=20)
    said = [bytes([number]) * 300 for number in range(20)]
    for data in said:
        left.send(stream_id, data, False, wire.now)
    assert wire.run(until=lambda: len(messages(wire.right)) == 20, seconds=60)
    assert messages(wire.right) == said
