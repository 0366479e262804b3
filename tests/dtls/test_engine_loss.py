"""Whatever a link does to a handshake's datagrams, our own retransmission completes it, and no number is used twice."""

import pytest

from tests.dtls.link import DELAY, Link, Policy, link_by_role, lossy
from tests.dtls.peers import EnginePeer, RawPeer, engine_against, engine_pair
from transceiverd.dtls import ApplicationDataReceived, DtlsConfig, Role
from transceiverd.dtls.flights import RESEND_INTERVAL
from transceiverd.engine import MILLISECOND, SECOND


def losing(*lost: tuple[int, int]) -> Policy:
    """These (direction, number) never arrive."""
    return lambda direction, number, _: [] if (direction, number) in lost else [DELAY]


def assert_established(client: EnginePeer, server: EnginePeer) -> None:
    assert client.completed is not None
    assert server.completed is not None
    assert client.completed.local_key == server.completed.remote_key
    assert client.completed.remote_key == server.completed.local_key


def assert_data_passes(link: Link, client: EnginePeer, server: EnginePeer) -> None:
    """Both ways, over a link that has become perfect; numbers stay above the handshake's."""
    link.policy = losing()
    for sender, receiver in ((client, server), (server, client)):
        sender.engine.send(b"hello", link.now)
        link.drain()
        link.settle()
        assert ApplicationDataReceived(b"hello") in receiver.events


@pytest.mark.parametrize("mtu", [1200, 300])
def test_flights_survive_the_loss_of_each_datagram(mtu: int) -> None:
    client, server = engine_pair(mtu)
    link = Link(client, server)
    link.start()
    link.settle()
    total = list(link.sent)
    for direction in (0, 1):
        for number in range(total[direction]):
            client, server = engine_pair(mtu)
            link = Link(client, server, losing((direction, number)))
            started = link.now
            link.start()
            link.settle()
            assert_established(client, server)
            assert client.completed is not None
            assert client.completed.phases.completed - started <= 300 * MILLISECOND
            assert_data_passes(link, client, server)


@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
def test_flights_of_ours_alone_repair_loss_towards_openssl(role: Role) -> None:
    # OpenSSL's timer is a real clock's: within the test only we repeat.
    lost = [(0, 0), (0, 1)] if role == Role.SERVER else [(1, 0)]
    for loss in lost:
        raw = RawPeer(role)
        ours = engine_against(raw)
        link = link_by_role(raw, ours, losing(loss))
        link.start()
        link.settle()
        assert raw.done
        assert ours.completed is not None


def test_flights_are_repeated_at_doubling_intervals() -> None:
    client, _ = engine_pair()
    client.start(0)
    client.datagrams()
    times = []
    while (deadline := client.timeout()) is not None:
        client.handle_timeout(deadline)
        if client.datagrams():
            times.append(deadline // MILLISECOND)
    assert times[:7] == [50, 150, 350, 750, 1550, 3150, 4750]
    assert client.closed == "dtls timeout"
    assert deadline is None
    assert len(times) <= 12
    assert len(client.wire.numbers) == len(client.wire.datagrams)


def test_flights_are_repeated_once_by_a_late_call() -> None:
    client, _ = engine_pair()
    client.start(0)
    client.datagrams()
    client.handle_timeout(5 * SECOND)
    assert len(client.datagrams()) == 1
    client.handle_timeout(1 * SECOND)  # time that goes back is ignored
    assert client.datagrams() == []


def test_flights_have_an_end() -> None:
    config = DtlsConfig(resends_max=3)
    client, _ = engine_pair(config=config)
    client.start(0)
    while (deadline := client.timeout()) is not None:
        client.handle_timeout(deadline)
        client.datagrams()
    assert len(client.wire.datagrams) == 4
    assert client.closed == "dtls timeout"


def test_flights_answer_a_repetition_at_most_once_an_interval() -> None:
    client, server = engine_pair()
    server.start(0)
    client.start(0)
    (hello,) = client.datagrams()
    server.receive(hello, 0)
    assert len(server.datagrams()) == 1
    for microsecond in range(0, 20_000, 100):
        server.receive(hello, microsecond * 1000)
        assert server.datagrams() == []
    server.receive(hello, 30 * MILLISECOND)
    assert len(server.datagrams()) == 1
    server.receive(hello, 31 * MILLISECOND)
    assert server.datagrams() == []


def test_flights_last_of_server_answers_repeated_finished_only() -> None:
    client, server = engine_pair()
    link = Link(client, server, losing((1, 1)))
    link.start()
    end = link.now + 35 * MILLISECOND
    while link.step(end):
        pass
    assert server.completed is not None
    assert client.completed is None
    finished = client.wire.datagrams[-1]
    before = len(server.wire.datagrams)
    for _ in range(50):  # verbatim copies are replays
        link.now += 30 * MILLISECOND
        server.receive(finished, link.now)
        server.datagrams()
    assert len(server.wire.datagrams) == before
    assert server.engine.drops["record replayed"] == 50
    link.settle()
    assert_established(client, server)
    assert len(server.wire.datagrams) == before + 1
    assert_data_passes(link, client, server)
    assert server.engine.final_message == b""


def test_flights_last_of_server_is_not_multiplied() -> None:
    # Fresh repetitions of the client's Finished, ten times as often as they are answered.
    client, server = engine_pair()
    link = Link(client, server, losing((1, 1)))
    link.start()
    link.settle(0.035)
    handshake = client.engine._handshake
    assert handshake is not None
    before = len(server.wire.datagrams)
    for _ in range(30):
        link.now += RESEND_INTERVAL // 10
        handshake.flights._transmit(link.now)
        for datagram in client.datagrams():
            server.receive(datagram, link.now)
        server.datagrams()
    assert len(server.wire.datagrams) - before == 3


def test_flights_last_of_server_survives_a_rebuild() -> None:
    client, server = engine_pair()
    link = Link(client, server, losing((1, 1), (1, 2)))
    link.start()
    end = link.now + 35 * MILLISECOND
    while link.step(end):
        pass
    server.rebuild()
    link.settle(0.2)
    server.rebuild()
    link.settle()
    assert_established(client, server)
    assert_data_passes(link, client, server)


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_engine_survives_hostile_links(loss: float) -> None:
    for seed in range(100):
        client, server = engine_pair(mtu=(1200, 500, 300)[seed % 3])
        link = Link(client, server, lossy(seed, loss, jitter=(5, 60, 200)[seed // 3 % 3] * MILLISECOND))
        link.start()
        link.settle(5)
        link.policy = losing()  # nobody can promise a handshake over a link that stays bad; after it, soon
        link.settle(5)
        assert_established(client, server)
        assert_data_passes(link, client, server)


def test_engine_survives_hostile_links_to_openssl() -> None:
    for seed in range(30):
        # OpenSSL does not repeat, so it must not lose; it may come late, doubled and out of order.
        raw = RawPeer(Role.CLIENT if seed % 2 else Role.SERVER, hello_padding=1300 if seed % 4 == 1 else 0)
        ours = engine_against(raw)
        ends = (raw, ours) if raw.role == Role.CLIENT else (ours, raw)
        link = Link(*ends, lossy(seed, 0.0))
        link.start()
        link.settle()
        assert raw.done
        assert ours.completed is not None


def test_engine_keeps_data_that_overtakes_the_end_of_the_handshake() -> None:
    client, server = engine_pair()
    link = Link(client, server, lambda direction, number, _: [DELAY * (3 if (direction, number) == (1, 1) else 1)])
    link.start()
    link.settle(0.035)
    server.engine.send(b"early", link.now)
    link.drain()
    link.settle()
    kinds = [type(event).__name__ for event in client.events]
    assert kinds.index("HandshakeCompleted") < kinds.index("ApplicationDataReceived")
    assert ApplicationDataReceived(b"early") in client.events
