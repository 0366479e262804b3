"""What strangers, forgers and page reloads may and may not do at the UDP port (DESIGN 2.2, 2.4; FACTS 1)."""

import contextlib
import os
import random
import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.daemons import Server, running, wait_for
from tests.udp_caller import UdpCaller, udp_socket
from transceiverd.ice import stun


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # Handshakes may last: one that a test leaves unfinished must still be there when a busy machine comes to look.
    with running(workers=2, transceivers=1, extra="[dtls]\nhandshake_timeout_ms = 60000\n") as started:
        yield started


@pytest.fixture
def end() -> Iterator[socket.socket]:
    with contextlib.closing(udp_socket()) as opened:
        yield opened


@pytest.fixture
def call(server: Server) -> Iterator[Callable[..., UdpCaller]]:
    """Makes callers, and closes their sockets afterwards."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(UdpCaller(server.calls_url, **options))


def _transceiver_records(server: Server) -> int:
    """Records that reached the control or media thread of any transceiver."""
    total = 0
    for transceiver in server.status().transceivers:
        for owner in transceiver.owners:
            total += owner.counters.get("records", 0) + owner.counters.get("received", 0)
    return total


def _outcomes(server: Server) -> dict[str, int]:
    return server.status().packets().outcomes


def _refused_owner(server: Server) -> int:
    """Datagrams that a call asked to send to an address where it may not."""
    return server.status().records().outcomes.get("out_refused_owner", 0)


def _beside(server: Server, name: str) -> int:
    """One of the workers' other counters, over all of them."""
    return sum(worker.beside.get(name, 0) for worker in server.status().workers)


def _silence(end: socket.socket, seconds: float = 0.3) -> bool:
    return not select.select([end], [], [], seconds)[0]


def _check(ufrag: str, password: str, **fields: object) -> bytes:
    message = stun.Message(stun.REQUEST, os.urandom(12))
    message.username = f"{ufrag}:cl1e".encode()
    message.priority = 1 << 30
    message.controlling = random.getrandbits(64)
    message.fingerprint = True
    for name, value in fields.items():
        setattr(message, name, value)
    return message.serialize(password.encode())


def test_strangers_get_no_answer_and_reach_no_transceiver(server: Server, end: socket.socket) -> None:
    before = _transceiver_records(server)
    packets = [
        os.urandom(200),
        bytes((22, 254, 253)) + bytes(60),  # a DTLS handshake record
        bytes((0x80, 111)) + os.urandom(170),  # RTP
        bytes((0x80, 200)) + os.urandom(60),  # RTCP
        _check("A" * 30, "whatever-it-is-it-is-wrong"),  # well-formed, its ufrag forged
        _check("AQEB", "whatever-it-is-it-is-wrong"),
        stun.Message(stun.INDICATION, os.urandom(12)).serialize(),
        stun.Message(stun.SUCCESS, os.urandom(12)).serialize(),
    ]
    counted = _outcomes(server)
    for packet in packets * 20:
        end.sendto(packet, ("127.0.0.1", server.udp_port))
    assert _silence(end)
    wait_for(lambda: sum(_outcomes(server).values()) >= len(packets) * 20, "all are counted")
    assert _transceiver_records(server) == before
    after = _outcomes(server)
    for name, least in {
        "dropped_no_flow": 60,
        "dropped_ufrag_tag": 20,
        "dropped_stun_username_form": 20,
        "dropped_stun_response": 20,
        "dropped_stun_indication": 20,
    }.items():
        assert after.get(name, 0) - counted.get(name, 0) >= least, (name, counted, after)


def test_strangers_with_a_real_ufrag_and_wrong_integrity_get_one_small_error_and_change_nothing(
    call: Callable[..., UdpCaller], end: socket.socket
) -> None:
    victim = call()
    victim.connect()
    ufrag = victim.answer.split("a=ice-ufrag:")[1].split()[0]
    sent = 0
    for _ in range(50):
        packet = _check(ufrag, "wrong-wrong-wrong-wrong-wrong", use_candidate=True)
        sent = len(packet)
        end.sendto(packet, victim.server)
    answers = []
    while not _silence(end):
        answers.append(end.recv(2048))
    assert len(answers) <= 2
    assert all(len(answer) <= 36 <= sent for answer in answers)
    heard = len(victim.client.heard)
    assert victim.run(lambda: len(victim.client.heard) > heard + 20)


def test_strangers_spoofing_a_callers_address_cannot_take_its_flow(
    server: Server, call: Callable[..., UdpCaller]
) -> None:
    victim = call(seed=1)
    victim.connect()
    won = _beside(server, "publish_contender_won")
    # The attacker has a call of his own and forges the victim's source address: the packet leaves by its socket.
    attacker = call(seed=2)
    ufrag = attacker.answer.split("a=ice-ufrag:")[1].split()[0]
    password = attacker.answer.split("a=ice-pwd:")[1].split()[0]
    for _ in range(5):
        heard = len(victim.client.heard)
        for _ in range(10):
            victim.end.sendto(_check(ufrag, password, use_candidate=True), victim.server)
        assert victim.run(lambda n=heard: len(victim.client.heard) >= n + 20, 5), _outcomes(server)
    sessions = {session["call_id"]: session for session in server.sessions()}
    assert sessions[victim.call_id]["state"] == "connected"
    assert sessions[attacker.call_id]["state"] != "connected"
    assert _beside(server, "publish_contending") > 0
    assert _beside(server, "publish_contender_dropped") > 0
    assert _beside(server, "publish_contender_won") == won


def test_strangers_no_more_a_page_loaded_again_on_the_same_port_reaches_its_new_call(
    server: Server, call: Callable[..., UdpCaller]
) -> None:
    first = call(seed=3)
    first.connect()
    won = _beside(server, "publish_contender_won")
    second = call(end=first.end, seed=4)  # the first is gone without a word
    started = time.monotonic()
    second.connect(5)
    assert time.monotonic() - started < 5
    heard = len(second.client.heard)
    assert second.run(lambda: len(second.client.heard) > heard + 50)
    sessions = {session["call_id"]: session for session in server.sessions()}
    assert sessions[second.call_id]["state"] == "connected"
    assert _beside(server, "publish_contender_won") > won


def test_strangers_no_more_a_page_loaded_again_in_the_middle_of_its_handshake_connects_at_once(
    server: Server, call: Callable[..., UdpCaller]
) -> None:
    """The server goes on sending the first call's flight again to the address where the second one shakes hands."""
    first = call(seed=6)
    # Our last flight is made, and never leaves: the server waits for it, its address only checked.
    assert first.run(lambda: first.client.done, 5)
    names = ("publish_contending", "publish_contender_won")
    before = {name: _beside(server, name) for name in names}
    refused = _refused_owner(server)
    second = call(end=first.end, seed=7)
    # A page's socket is opened anew: what the first call was sent until now is not read.
    with contextlib.suppress(BlockingIOError):
        while first.end.recv(2048):
            pass
    second.connect(5)
    sessions = {session["call_id"]: session for session in server.sessions()}
    assert sessions[first.call_id]["state"] != "connected"
    assert sessions[second.call_id]["state"] == "connected"
    for name in names:
        assert _beside(server, name) > before[name], name
    wait_for(lambda: _refused_owner(server) > refused, "the first call's flight is refused")


def test_strangers_floods_of_wrong_srtp_and_alerts_from_the_callers_own_address_do_not_end_the_call(
    call: Callable[..., UdpCaller],
) -> None:
    caller = call(seed=5)
    caller.connect()
    for _ in range(20):
        for _ in range(100):
            caller.end.sendto(bytes((0x80, 111)) + os.urandom(170), caller.server)
            caller.end.sendto(bytes((21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 0)), caller.server)
        heard = len(caller.client.heard)
        assert caller.run(lambda n=heard: len(caller.client.heard) > n + 3, 5)
    assert not caller.client.closed
