"""OpenSSL's own DTLS timer, which reads the real clock and cannot be switched off, does no harm."""

import time

import pytest
from OpenSSL import SSL

from tests.dtls.link import DELAY, Link, link_by_role
from tests.dtls.peers import RawPeer, engine_against, engine_pair
from transceiverd.dtls import Role
from transceiverd.dtls.records import parse_records


def wait_for_openssl(connection: SSL.Connection) -> None:
    """Until its timer is due: the one wait on a real clock, about a second."""
    while (left := connection.DTLSv1_get_timeout()) is not None and left > 0:
        time.sleep(left)


@pytest.mark.system
def test_flights_of_openssls_timer_are_not_sent() -> None:
    # Story: a handshake that takes longer than a second of real time. OpenSSL, asked to go on, repeats its flight with
    # record numbers of its own, which we have used already for our repetitions.
    client, server = engine_pair()
    held: list[bytes] = []

    def hold_finished(direction: int, number: int, datagram: bytes) -> list[int]:
        if direction == 0 and number == 1:
            held.append(datagram)
            return []
        return [DELAY] if direction or number < 1 else []

    link = Link(client, server, hold_finished)
    link.start()
    link.settle(0.025)
    handshake = client.engine._handshake
    assert handshake is not None
    wait_for_openssl(handshake._connection._connection)
    sent = len(client.wire.datagrams)
    output = handshake._connection.advance(b"")
    assert [record.sequence for record in output if record.epoch] == [
        1
    ]  # which we have used for our own first Finished
    handshake._take_output(output, link.now)
    assert client.datagrams() == []
    assert len(client.wire.datagrams) == sent
    assert handshake.state.write_sequence == 2
    link.policy = lambda *_: [DELAY]
    link.settle()
    assert client.completed is not None
    assert server.completed is not None


@pytest.mark.system
@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
def test_flights_of_ours_answer_openssls_repetition(role: Role) -> None:
    # The last flight of whoever is server is lost once; only the other's repetition can bring it again.
    raw = RawPeer(role)
    ours = engine_against(raw)
    lost = (1, 1)
    link = link_by_role(raw, ours)
    link.policy = lambda direction, number, _: [] if (direction, number) == lost else [DELAY]
    link.start()
    link.settle(0.05)
    if role == Role.CLIENT:
        wait_for_openssl(raw.connection)
        raw.connection.DTLSv1_handle_timeout()
        link.now += 1_000_000_000
        link.drain()
    link.settle()
    assert raw.done
    assert ours.completed is not None
    assert all(parse_records(datagram) for datagram in ours.wire.datagrams)


@pytest.mark.system
@pytest.mark.parametrize("late", [Role.CLIENT, Role.SERVER])
def test_flights_that_openssl_makes_right_after_a_repetition_are_sent(late: Role) -> None:
    # Story: what the late one waits for takes more than a second of real time: the server's flight, or the client's
    # Finished apart from the rest of its flight. OpenSSL looks at its timer first and then reads, so that the old
    # flight and the new one come out together. Both were taken for a repetition: as client nothing was ever said
    # again, as server the handshake was done without a Finished to send, which raised through the engine.
    client, server = engine_pair(mtu=500)
    receiver = client if late == Role.CLIENT else server
    waits = 0

    def hold(direction: int, number: int, datagram: bytes) -> list[int]:
        nonlocal waits
        awaited = number == 0 if late == Role.CLIENT else any(record.epoch for record in parse_records(datagram))
        if direction == int(late == Role.CLIENT) and awaited and not waits:
            waits += 1
            link.run(seconds=0.02)  # what was sent before is there
            handshake = receiver.engine._handshake
            assert handshake is not None
            wait_for_openssl(handshake._connection._connection)
        return [DELAY]

    link = Link(client, server, hold)
    link.start()
    link.settle()
    assert waits == 1
    assert client.completed is not None
    assert server.completed is not None
    assert client.closed is server.closed is None
