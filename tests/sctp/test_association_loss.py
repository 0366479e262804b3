"""Over a bad link everything arrives once and in order, in bounded time, whatever dies on the way.

Each seed is another run: sizes, channels, directions, loss, reordering, duplication, moments of death.
"""

import itertools
import random

import pytest

from tests.link import Endpoint, Link
from tests.sctp.peers import Mortal, association, messages
from transceiverd.engine import SECOND
from transceiverd.sctp.config import DataChannelConfig

SIZES = (0, 1, 3, 100, 1_150, 1_500, 3_000, 20_000, 70_000)


class Conversation:
    """Both sides open channels, ordered and not, and talk; what was said is remembered."""

    def __init__(self, seed: int, death: float = 0.0, interleaving: bool = True, **link: object) -> None:
        self.random = random.Random(seed)
        config = DataChannelConfig(interleaving=interleaving)
        left = Mortal(association("client", 2 * seed, config), seed, death)
        right = Mortal(association("server", 2 * seed + 1, config), seed + 1, death)
        ends = Endpoint(left, name="left"), Endpoint(right, name="right")
        self.wire = Link(*ends, seed=seed, **link)  # type: ignore[arg-type]
        self.said: dict[str, dict[int, list[bytes]]] = {"left": {}, "right": {}}
        for end in ends:
            end.engine.start(self.wire.now)
            for ordered in (True, False):
                self.said[end.name][end.engine.open_channel(f"{end.name} {ordered}", ordered=ordered)] = []

    def talk(self, count: int) -> None:
        """`count` messages, now from here, now from there, with pauses."""
        for _ in range(count):
            end = self.random.choice((self.wire.left, self.wire.right))
            stream_id = self.random.choice(list(self.said[end.name]))
            data = self.random.randbytes(self.random.choice(SIZES))
            while not end.engine.send(stream_id, data, self.random.random() < 0.5, self.wire.now):
                self.wire.run(seconds=0.05)
            self.said[end.name][stream_id].append(data)
            if self.random.random() < 0.3:
                self.wire.run(seconds=self.random.random() * 0.2)

    def heard_all(self) -> bool:
        """Whether as many messages arrived as were said."""
        pairs = (("left", self.wire.right), ("right", self.wire.left))
        return all(len(messages(end)) >= sum(map(len, self.said[name].values())) for name, end in pairs)

    def check(self) -> None:
        """Once, whole, and on ordered channels in order."""
        for name, end in (("left", self.wire.right), ("right", self.wire.left)):
            for place, (stream_id, said) in enumerate(self.said[name].items()):
                heard = messages(end, stream_id)
                assert heard == said if place == 0 else sorted(heard) == sorted(said)

    def idle(self) -> bool:
        """Whether both sides wait for nothing but the next heartbeat."""
        engines = (self.wire.left.engine.engine, self.wire.right.engine.engine)
        return not any(engine.transmission.buffered or engine.transmission.t3 for engine in engines)

    def check_nothing_left(self) -> None:
        """A while later nothing is held any more and only heartbeats are timed."""
        self.wire.run(until=self.idle, seconds=100)
        for end in (self.wire.left, self.wire.right):
            engine = end.engine.engine
            assert engine.transmission.buffered == 0
            assert engine.transmission.outstanding.flight == 0
            assert engine.reception_now().reassembly.held == 0
            assert engine.reception_now().unfetched == 0
            assert len(end.engine.save()) < 600
            assert end.engine.save_cost() < 1_200


def converse(seed: int, loss: float, death: float = 0.0, interleaving: bool = True) -> None:
    link = {"loss": loss, "duplicates": loss / 2, "delay_ms": (5, 45)}
    talk = Conversation(seed, death, interleaving, **link)
    talk.talk(25)
    assert talk.wire.run(until=talk.heard_all, seconds=120)
    talk.check_nothing_left()
    talk.check()


@pytest.mark.parametrize("seed", range(60))
def test_association_delivers_over_a_bad_link(seed: int) -> None:
    converse(seed, loss=0.1, interleaving=bool(seed % 2))


@pytest.mark.parametrize("seed", range(60))
def test_association_survives_deaths(seed: int) -> None:
    converse(seed, loss=0.05, death=0.03, interleaving=bool(seed % 2))


@pytest.mark.system
@pytest.mark.anytime
@pytest.mark.parametrize("block", range(20))
def test_association_delivers_over_a_bad_link_thousands(block: int) -> None:
    for seed in range(1000 + block * 100, 1100 + block * 100):
        converse(seed, loss=0.1 + 0.1 * (seed % 3), death=0.02 * (seed % 2), interleaving=bool(seed % 4 < 2))


@pytest.mark.parametrize("seed", range(20))
def test_association_never_stalls_longer_than_its_rto(seed: int) -> None:
    """While something waits for an acknowledgement, a packet leaves at least once in the longest RTO."""
    talk = Conversation(seed, loss=0.2, delay_ms=(5, 45))
    talk.talk(10)
    assert talk.wire.run(until=talk.heard_all, seconds=120)
    longest = DataChannelConfig().rto_max_ms * 1_000_000
    for end in (talk.wire.left, talk.wire.right):
        times = [at for at, _ in end.sent]
        assert all(later - earlier <= longest for earlier, later in itertools.pairwise(times))
    assert talk.wire.now < 60 * SECOND
