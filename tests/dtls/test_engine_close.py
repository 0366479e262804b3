"""An association ends by what comes from inside it, or by us; and goes on from its state alone until then."""

import random

import pytest

from tests.dtls.link import Link, link_by_role
from tests.dtls.peers import EnginePeer, RawPeer, engine_against, engine_pair
from transceiverd.dtls import ApplicationDataReceived, DtlsEngine, MemoryState, Role
from transceiverd.dtls.alerts import Alert, serialize_alert
from transceiverd.dtls.records import ALERT, parse_records
from transceiverd.engine import Closed

ROLES = [Role.CLIENT, Role.SERVER]


def established() -> tuple[EnginePeer, EnginePeer, Link]:
    client, server = engine_pair()
    link = Link(client, server)
    link.start()
    link.settle()
    return client, server, link


@pytest.mark.parametrize("role", ROLES)
def test_engine_says_close_notify_to_openssl(role: Role) -> None:
    raw = RawPeer(role)
    ours = engine_against(raw)
    link = link_by_role(raw, ours)
    link.start()
    link.settle()
    ours.engine.close(link.now)
    link.drain()
    link.settle()
    assert raw.closed
    assert ours.closed == "local close"
    assert ours.state.closed == 1


@pytest.mark.parametrize("role", ROLES)
def test_engine_hears_close_notify_of_openssl(role: Role) -> None:
    raw = RawPeer(role)
    ours = engine_against(raw)
    link = link_by_role(raw, ours)
    link.start()
    link.settle()
    raw.connection.shutdown()
    link.drain()
    link.settle()
    assert ours.closed == "close notify"
    assert ours.state.closed == 1


def test_engine_closes_both_ends_and_then_does_nothing() -> None:
    client, server, link = established()
    client.engine.close(link.now)
    link.drain()
    link.settle()
    assert (client.closed, server.closed) == ("local close", "close notify")
    for side in (client, server):
        sent = len(side.wire.datagrams)
        side.engine.close(link.now)
        side.engine.send(b"late", link.now)
        side.receive(client.wire.datagrams[-1], link.now)
        side.handle_timeout(link.now)
        side.datagrams()
        assert len(side.wire.datagrams) == sent
        assert len(side.of(Closed)) == 1
        assert side.engine.drops["send while not established"] == 1
    assert client.engine.drops["association closed"] >= 1


def test_engine_ends_on_a_fatal_alert_from_inside() -> None:
    client, server, link = established()
    layer = client.engine._layer
    assert layer is not None
    server.receive(layer.seal(ALERT, serialize_alert(Alert(1, 90))), link.now)
    server.receive(layer.seal(ALERT, b"\x02"), link.now)
    server.datagrams()
    assert server.closed is None
    assert server.engine.drops == {"warning alert": 1, "alert malformed": 1}
    server.receive(layer.seal(ALERT, serialize_alert(Alert(2, 20))), link.now)
    server.datagrams()
    assert server.closed == "peer alert: bad_record_mac"


def test_engine_closed_in_the_handshake_tells_the_peer_in_the_clear() -> None:
    client, server = engine_pair()
    client.start(0)
    server.start(0)
    client.datagrams()
    client.engine.close(1)
    (datagram,) = client.datagrams()
    assert [record.epoch for record in parse_records(datagram)] == [0]
    server.receive(datagram, 1)
    server.datagrams()
    assert client.closed == "local close"
    assert server.closed is None


def test_engine_waits_for_its_start() -> None:
    client, server = engine_pair()
    client.start(0)
    (hello,) = client.datagrams()
    assert server.engine.next_timeout() is None
    server.receive(hello, 0)
    assert server.datagrams() == []
    assert server.engine.drops == {"before start": 1}


@pytest.mark.parametrize("seed", range(20))
def test_engine_rebuilt_from_its_state_goes_on(seed: int) -> None:
    # Both ends are destroyed and rebuilt at random moments; the wire watcher sees every number and nonce.
    dice = random.Random(seed)
    client, server, link = established()
    for number in range(40):
        sender, receiver = dice.choice(((client, server), (server, client)))
        if dice.random() < 0.3:
            dice.choice((client, server)).rebuild()
        sender.engine.send(b"%d" % number, link.now)
        link.drain()
        if dice.random() < 0.3:  # with records in flight
            dice.choice((client, server)).rebuild()
        link.settle()
        assert receiver.of(ApplicationDataReceived)[-1] == ApplicationDataReceived(b"%d" % number)
    replayed = client.wire.datagrams[-1]
    server.rebuild()
    server.receive(replayed, link.now)
    assert sum(server.engine.drops.values()) == 1
    client.rebuild()
    client.engine.close(link.now)
    link.drain()
    link.settle()
    assert server.closed == "close notify"
    for side in (client, server):
        side.rebuild()
        side.engine.send(b"late", link.now)
        assert side.datagrams() == []


@pytest.mark.parametrize("role", ROLES)
def test_engine_rebuilt_goes_on_with_openssl(role: Role) -> None:
    raw = RawPeer(role)
    ours = engine_against(raw)
    link = link_by_role(raw, ours)
    link.start()
    link.settle()
    for number in range(5):
        ours.rebuild()
        ours.engine.send(b"%d" % number, link.now)
        raw.send(b"%d" % number)
        link.drain()
        link.settle()
    assert raw.received == [b"0", b"1", b"2", b"3", b"4"]
    assert [event.data for event in ours.of(ApplicationDataReceived)] == raw.received
    ours.engine.close(link.now)
    link.drain()
    link.settle()
    assert raw.closed


def test_engine_is_rebuilt_only_from_keys_it_knows() -> None:
    with pytest.raises(ValueError, match="0x0000"):
        DtlsEngine.rebuild(MemoryState())
    with pytest.raises(ValueError, match="0xfefc"):
        DtlsEngine.rebuild(MemoryState(version=0xFEFC, cipher_suite=0xC02B, role=1))
    with pytest.raises(ValueError, match="0xc009"):
        DtlsEngine.rebuild(MemoryState(version=0xFEFD, cipher_suite=0xC009, role=1))


def test_engine_refuses_data_that_fits_no_datagram() -> None:
    client, _, link = established()
    with pytest.raises(ValueError, match="do not fit"):
        client.engine.send(b"x" * (client.engine.application_data_max + 1), link.now)
