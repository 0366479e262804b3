"""Two associations and a wire between them, for the tests of this folder."""

import random
from typing import Any

from tests.link import Endpoint, Link
from transceiverd.engine import SECOND, Drops
from transceiverd.sctp.association import Association
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.events import ChannelOpened, MessageReceived

PORT = 5000


def random_source(seed: int) -> Any:
    """Bytes that are the same in every run."""
    return random.Random(seed).randbytes


def association(role: str, seed: int = 0, config: DataChannelConfig | None = None, **more: Any) -> Association:
    """An association that is not started."""
    options: dict[str, Any] = {
        "local_port": PORT,
        "remote_port": PORT,
        "dtls_role": role,
        "remote_max_message_size": 262_144,
        "now": SECOND,
        "random_bytes": random_source(seed),
        "drops": Drops(),
    }
    return Association(config or DataChannelConfig(), **{**options, **more})


def pair(
    seed: int = 0, config: DataChannelConfig | None = None, right_config: DataChannelConfig | None = None, **link: Any
) -> Link:
    """Client left, server right, both started, on a wire as `tests.link.Link` makes it."""
    left = association("client", 2 * seed, config)
    right = association("server", 2 * seed + 1, right_config or config)
    wire = Link(Endpoint(left, name="left"), Endpoint(right, name="right"), seed=seed, **link)
    left.start(wire.now)
    right.start(wire.now)
    return wire


def established(seed: int = 0, **options: Any) -> Link:
    """The same after the handshake."""
    wire = pair(seed, **options)
    assert wire.run(until=lambda: wire.left.engine.state == 3 and wire.right.engine.state == 3, seconds=20)
    return wire


def messages(end: Endpoint, stream_id: int | None = None) -> list[bytes]:
    """What arrived at one end."""
    received = [event for event in end.events if isinstance(event, MessageReceived)]
    return [event.data for event in received if stream_id in (None, event.stream_id)]


def opened(end: Endpoint) -> list[ChannelOpened]:
    """The channels announced at one end."""
    return [event for event in end.events if isinstance(event, ChannelOpened)]


class Mortal:
    """An association whose process dies now and then, and is rebuilt from what it saved last.

    As the product does it: after every turn what is to be sent and told is taken out, the state is saved, and only then
    it is sent and told. Death comes right after that, and takes a part of the datagrams with it.
    """

    def __init__(self, engine: Association, seed: int, death: float) -> None:
        self.engine = engine
        self.death = death
        self.deaths = 0
        self.random = random.Random(seed)
        self.out: list[bytes] = []
        self.told: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def turn(self, now: int) -> None:
        """End of a turn: take out, save, perhaps die."""
        while (data := self.engine.poll_datagram()) is not None:
            self.out.append(data)
        while (event := self.engine.poll_event()) is not None:
            self.told.append(event)
        if self.random.random() < self.death:
            self.deaths += 1
            saved = self.engine.save()
            assert len(saved) <= self.engine.save_cost()
            del self.out[self.random.randint(0, len(self.out)) :]
            source, drops = self.engine.random_bytes, self.engine.drops
            self.engine = Association.restore(saved, self.engine.config, now=now, random_bytes=source, drops=drops)
            assert len(self.engine.save()) == len(saved)

    def start(self, now: int) -> None:
        self.engine.start(now)
        self.turn(now)

    def receive_datagram(self, data: bytes, now: int) -> None:
        self.engine.receive_datagram(data, now)
        self.turn(now)

    def handle_timeout(self, now: int) -> None:
        self.engine.handle_timeout(now)
        self.turn(now)

    def send(self, stream_id: int, data: bytes, is_text: bool, now: int) -> bool:
        accepted = self.engine.send(stream_id, data, is_text, now)
        self.turn(now)
        return accepted

    def poll_datagram(self) -> bytes | None:
        return self.out.pop(0) if self.out else self.engine.poll_datagram()

    def poll_event(self) -> Any:
        return self.told.pop(0) if self.told else self.engine.poll_event()
