"""Calls whose process dies at any moment and that are rebuilt from their record alone (DESIGN 2.13), data included.

Death strikes where it can do harm: before the blob is written, after it is written and before anything left, between
two datagrams of one turn, or in a quiet moment. The record, the rings and the media thread outlive it, as they do in
the product; session, engines and association are made anew.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.bottle import Bottle, Client
from tests.data_client import DataClient, data_negotiation
from tests.link import Endpoint, Link
from transceiverd.blob import BlobWriter
from transceiverd.calls import Call
from transceiverd.data_transport import NOT_KEPT, STATE_LOST
from transceiverd.dtls.engine import Role
from transceiverd.echo_channels import TOO_LONG
from transceiverd.engine import Closed
from transceiverd.lanes import ControlLanes
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.initiation import make_init
from transceiverd.session import State

ROLES = {"active": Role.SERVER, "passive": Role.CLIENT}


class Killed(BaseException):
    """The process is gone."""


class MortalBottle(Bottle):
    """A bottle in which the control thread of the call's process dies with the chance `death` at each chance it has."""

    def __init__(self, seed: int, **more: Any) -> None:
        super().__init__(**more)
        self.random = random.Random(seed)
        self.death = 0.0  # between two deaths there must be time for an RTO, which starts anew with each
        self.deaths: dict[str, int] = {}
        self.slot = 0

    def risk(self, where: str, weight: float = 1.0) -> None:
        """Perhaps die here."""
        if self.random.random() < self.death * weight:
            self.deaths[where] = self.deaths.get(where, 0) + 1
            raise Killed

    def receive(self, data: bytes, source: bytes | None, now: int, call: Call | None = None) -> None:
        with self.reviving():
            super().receive(data, source, now, call or next(iter(self.calls)))
            self.risk("quiet", 0.1)  # there are ten times as many of these moments

    def handle_timeout(self, now: int) -> None:
        with self.reviving():
            super().handle_timeout(now)

    @contextmanager
    def reviving(self) -> Iterator[None]:
        """Whoever dies in here is rebuilt, and may die of that."""
        try:
            yield
        except Killed:
            with self.reviving():
                rebuilt = self.calls.restore(self.slot, self.now)
                if rebuilt.subject is not None:
                    rebuilt.subject.waiting = 0  # what the process had read died with it
                self.port.rebuild(self.slot)
                self.turn()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a call between a mortal bottle and a client with channels, on a link."""
    bottles: list[MortalBottle] = []
    write, send = BlobWriter.write, ControlLanes.send

    def mortal_write(self: BlobWriter, *parts: bytes) -> None:
        bottles[-1].risk("before the blob is written")
        write(self, *parts)
        bottles[-1].risk("after the blob is written")

    def mortal_send(self: ControlLanes, *arguments: Any) -> bool:
        bottles[-1].risk("before a datagram is sent")
        return send(self, *arguments)

    def make(
        seed: int, setup: str = "active", snap: bool = False, **link: Any
    ) -> tuple[MortalBottle, DataClient, Link]:
        config = DataChannelConfig(interleaving=bool(seed % 2))
        bottle = MortalBottle(seed, data_channel=config)
        bottles.append(bottle)
        local_init = make_init(config, random.Random(seed).randbytes) if snap else None
        created, call = bottle.create(setup, data_negotiation(local_init))
        bottle.slot = call.owner.slot
        client = DataClient(created, ROLES[setup], config=config, local_init=local_init, seed=seed)
        wire = Link(
            Endpoint(client, client.receive, "client"), Endpoint(bottle, bottle.receive, "server"), seed=seed, **link
        )
        return bottle, client, wire

    monkeypatch.setattr(BlobWriter, "write", mortal_write)
    monkeypatch.setattr(ControlLanes, "send", mortal_send)
    return make


class Talk:
    """Numbered messages on three channels, a few under way at a time; every one must come back once, in order."""

    def __init__(self, client: DataClient, seed: int) -> None:
        self.client = client
        self.random = random.Random(seed)
        self.ids = [
            client.association.open_channel("events"),
            client.association.open_channel("loose", ordered=False),
            client.association.open_channel("known", negotiated=True, stream_id=101),
        ]
        self.sent: dict[int, list[bytes]] = {stream_id: [] for stream_id in self.ids}

    def step(self, total: int) -> bool:
        """Send more when little is under way; True when `total` came back."""
        sent = sum(len(each) for each in self.sent.values())
        came = sum(len(each) for each in self.client.received.values())
        if sent < total and sent - came < 3:
            stream_id = self.random.choice(self.ids)
            size = self.random.choice((0, 1, 40, 200, 600))
            data = b"" if not size else b"%05d" % sent + self.random.randbytes(size)
            assert self.client.association.send(stream_id, data, False, self.client.now)
            self.sent[stream_id].append(data)
        return came >= total

    def judge(self) -> None:
        """Nothing lost, doubled or out of order."""
        ordered, loose, known = self.ids
        received = self.client.received
        assert received.get(ordered, []) == self.sent[ordered]
        assert received.get(known, []) == self.sent[known]
        assert sorted(received.get(loose, [])) == sorted(self.sent[loose])


def rebuild_again_and_again(world: Any, seed: int, total: int, loss: float = 0.05) -> MortalBottle:
    """One call's life with deaths."""
    setup = ("active", "passive")[seed // 2 % 2]
    bottle, client, wire = world(seed, setup, snap=seed % 3 == 0, loss=loss, duplicates=loss / 2, delay_ms=(5, 50))
    client.talking = True
    assert wire.run(lambda: len(client.heard) >= 5, 30)
    talk = Talk(client, seed)
    bottle.death = 0.05
    done = lambda: talk.step(total)  # noqa: E731
    assert wire.run(done, 300), (seed, bottle.deaths, client.association.state, bottle.calls.sctp_drops)
    bottle.death = 0.0
    heard = len(client.heard)
    wire.run(lambda: len(client.heard) > heard + 20, 20)
    talk.judge()
    assert not any(isinstance(event, Closed) for event in client.events)
    assert bottle.calls.sctp_drops[STATE_LOST] == 0
    assert not bottle.ended
    assert len(client.heard) > heard + 20  # audio goes on
    return bottle


@pytest.mark.parametrize("seed", range(12))
def test_call_rebuilt_at_any_moment_brings_every_message_once_and_in_order(world: Any, seed: int) -> None:
    bottle = rebuild_again_and_again(world, seed, 60)
    assert sum(bottle.deaths.values()) >= 2, bottle.deaths


@pytest.mark.system
@pytest.mark.parametrize("block", range(4))
def test_call_rebuilt_at_any_moment_hundreds_of_seeds(world: Any, block: int) -> None:
    met: set[str] = set()
    for seed in range(1000 + 20 * block, 1020 + 20 * block):
        met |= set(rebuild_again_and_again(world, seed, 60, 0.1 * (seed % 3)).deaths)
    assert len(met) == 4, met  # every kind of moment


@pytest.mark.parametrize("setup", ROLES)
def test_call_rebuilt_amid_a_bulk_transfer_aborts_the_association_and_goes_on_talking(world: Any, setup: str) -> None:
    """The blob has no room for what is under way: it says so, and the peer learns it at once."""
    bottle, client, wire = world(1, setup)
    client.talking = True
    stream_id = client.association.open_channel("bulk")
    assert client.association.send(stream_id, bytes(262_144), False, wire.now)
    transport = lambda: next(iter(bottle.calls)).session.data  # noqa: E731
    assert wire.run(lambda: transport().beyond, 10)
    assert bottle.calls.sctp_drops[NOT_KEPT] == 1
    bottle.calls.restore(bottle.slot, wire.now)
    assert bottle.calls.sctp_drops[STATE_LOST] == 1
    wire.tamper = lambda data, left=[1]: None if data[0] == 23 and left and left.pop() else data  # type: ignore[misc]
    bottle.turn()  # the first ABORT is lost; what the client sends next is answered by another
    assert wire.run(lambda: any(isinstance(event, Closed) for event in client.events), 10)
    assert client.events[-1] == Closed("peer aborted")
    heard = len(client.heard)
    assert wire.run(lambda: len(client.heard) > heard + 50, 5)
    assert next(iter(bottle.calls)).session.state is State.CONNECTED


def test_call_rebuilt_after_a_bulk_transfer_has_its_state_again(world: Any) -> None:
    bottle, client, wire = world(2)
    stream_id = client.association.open_channel("bulk")
    transport = lambda: next(iter(bottle.calls)).session.data  # noqa: E731
    for number in (1, 2):
        assert client.association.send(stream_id, bytes(100_000), False, wire.now)
        assert wire.run(lambda n=number: len(client.received.get(stream_id, ())) == n, 10)
        assert wire.run(lambda: not transport().beyond, 5)
        assert bottle.calls.sctp_drops[NOT_KEPT] == number
        bottle.calls.restore(bottle.slot, wire.now)
    assert bottle.calls.sctp_drops[STATE_LOST] == 0
    assert client.association.send(stream_id, b"and on", False, wire.now)
    assert wire.run(lambda: client.received[stream_id][-1] == b"and on", 10)


def test_call_idle_writes_no_blob(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, client, wire = world(3)
    client.talking = True
    stream_id = client.association.open_channel("events")
    client.association.send(stream_id, b"hello", False, wire.now)
    assert wire.run(lambda: client.received.get(stream_id) == [b"hello"], 10)
    wire.run(seconds=2)
    written: list[int] = []
    monkeypatch.setattr(BlobWriter, "write", lambda _self, final, channels: written.append(len(channels)))
    wire.run(seconds=10)
    assert not written  # ten seconds of audio and checks
    client.association.send(stream_id, b"again", False, wire.now)
    wire.run(seconds=2)
    assert 1 <= len(written) <= 2  # the echo with its SACK, and a SACK of a SACK there is none
    assert max(written) < 1000


@pytest.mark.parametrize("setup", ["passive"])
def test_call_rebuilt_server_repeats_its_finished(setup: str) -> None:
    """Our last flight is lost, then our process dies: only the repeated Finished can bring the client in."""
    bottle = Bottle()
    created, call = bottle.create(setup)
    client = Client(created, ROLES[setup])
    wire = Link(Endpoint(client, client.receive, "client"), Endpoint(bottle, bottle.receive, "server"))
    wire.run(lambda: call.session.state is State.CONNECTED, 10)
    wire._flying.clear()  # the flight that is on its way
    assert client.done is None
    restored = bottle.calls.restore(call.owner.slot, wire.now)
    assert restored.session is not call.session
    assert restored.session.dtls.final_message
    assert wire.run(lambda: client.done is not None, 10)
    client.talking = True
    assert wire.run(lambda: len(client.heard) >= 20, 10)


def test_call_echo_longer_than_the_peer_takes_is_counted() -> None:
    bottle = Bottle()
    created, call = bottle.create("active", data_negotiation(max_message_size=1000))
    client = DataClient(created, Role.SERVER)
    wire = Link(Endpoint(client, client.receive, "client"), Endpoint(bottle, bottle.receive, "server"))
    stream_id = client.association.open_channel("events")
    for size in (1001, 1000):
        assert client.association.send(stream_id, bytes(size), False, wire.now)
    assert wire.run(lambda: client.received.get(stream_id) == [bytes(1000)], 10)
    assert bottle.calls.sctp_drops[TOO_LONG] == 1
    assert call.session.state is State.CONNECTED


def test_call_not_connected_cannot_be_restored() -> None:
    bottle = Bottle()
    _, call = bottle.create()
    with pytest.raises(ValueError, match="not connected"):
        bottle.calls.restore(call.owner.slot, bottle.now)
    bottle.calls.close(call, "hangup", bottle.now)
    with pytest.raises(ValueError, match="not connected"):
        bottle.calls.restore(call.owner.slot, bottle.now)
