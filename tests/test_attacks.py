"""Behaviour under attack, as seen on the wire and in the log of real daemons; strangers have test_strangers.py.

(DESIGN 2.4, FACTS 1.) Engines have their own hostile tests, under tests/ice, tests/dtls and tests/sctp.
"""

import contextlib
import os
import select
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import Server, wait_for
from tests.sdp.offers import audio_offer
from tests.udp_caller import UdpCaller, udp_socket

# Runs transceiverd with every name that anybody asks the resolver for written to a file.
RESOLVER_WATCHED = """
import os, socket, sys
real = socket.getaddrinfo
def watched(host, *rest, **more):
    with open(os.environ["ASKED_NAMES"], "a") as file:
        file.write(f"{host}\\n")
    return real(host, *rest, **more)
socket.getaddrinfo = watched
for name in ("gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
    setattr(socket, name, watched)
from transceiverd.main import main
sys.exit(main(sys.argv[1:]))
"""


FLOOD = 3000
"""Of each kind; in bursts that the socket's buffer holds where nobody enlarged it."""
BURST = 100


@pytest.fixture(scope="module")
def asked_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("names") / "asked"
    path.touch()
    return path


@pytest.fixture(scope="module")
def server(asked_names: Path) -> Iterator[Server]:
    started = Server(python=("-c", RESOLVER_WATCHED), environment={"ASKED_NAMES": str(asked_names)})
    started.config.write_text(started.config.read_text().replace("[ringline]", '[ringline]\nlog_addresses = "none"', 1))
    try:
        started.start("relayd")
        started.start("transceiverd")
        started.await_ready()
        yield started
    finally:
        started.close()


def _ended(server: Server, reason: str) -> float:
    lines = server.operator("/metrics").splitlines()
    start = f'ringline_calls_ended_total{{reason="{reason}"}}'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(start))


def _drop(server: Server, event: str) -> float:
    lines = server.operator("/metrics").splitlines()
    return sum(float(line.split()[-1]) for line in lines if f'event="{event}"' in line)


def test_attacks_who_only_checks_gets_at_most_three_times_what_it_sent(server: Server) -> None:
    """One check, then silence: every flight that the server repeats to that address is paid for by it."""
    with UdpCaller(server.calls_url) as caller:
        sent = received = 0
        while not received:
            caller.client.handle_timeout(time.monotonic_ns())
            while (datagram := caller.client.poll_datagram()) is not None:
                caller.end.sendto(datagram.data, caller.server)
                sent += len(datagram.data)
            if select.select([caller.end], [], [], 0.01)[0]:
                received += len(caller.end.recv(2048))
        quiet = time.monotonic() + 1.5  # several repetitions: after 50, 100, 200, 400 ms
        while time.monotonic() < quiet:
            if select.select([caller.end], [], [], 0.05)[0]:
                received += len(caller.end.recv(2048))
        assert 0 < received <= 3 * sent, (received, sent)


def test_attacks_dtls_before_a_check_is_not_even_looked_at(server: Server) -> None:
    with contextlib.closing(udp_socket()) as end:
        before = server.status().packets().outcomes.get("dropped_no_flow", 0)
        hello = bytes((22, 254, 253)) + bytes(8) + (140).to_bytes(2, "big") + b"\1" + os.urandom(139)
        for _ in range(20):
            end.sendto(hello, ("127.0.0.1", server.udp_port))
        wait_for(
            lambda: server.status().packets().outcomes.get("dropped_no_flow", 0) >= before + 20, "the worker drops them"
        )
        assert not select.select([end], [], [], 0)[0]
        # And nothing is left of it: the call that comes from there begins its handshake anew.
        UdpCaller(server.calls_url, end, setup="active", seed=2).connect()


@pytest.mark.parametrize("setup", ["actpass", "active"])
def test_attacks_certificate_that_is_not_the_offers_ends_the_call_in_both_roles(server: Server, setup: str) -> None:
    wrong = "sha-256 " + ":".join(["AB"] * 32)
    before = _ended(server, "fingerprint mismatch")
    with UdpCaller(server.calls_url, setup=setup, fingerprint=wrong) as caller:
        caller.client.talking = True
        caller.run(lambda: _ended(server, "fingerprint mismatch") > before, 10)
        assert _ended(server, "fingerprint mismatch") == before + 1
        assert not caller.client.heard, "not a packet of media"
        assert caller.call_id not in [session["call_id"] for session in server.sessions()]


def test_attacks_floods_of_every_kind_from_the_callers_own_address_do_not_end_the_call(server: Server) -> None:
    with UdpCaller(server.calls_url, seed=3) as caller:
        caller.connect()
        kinds = {
            "bad SRTP": lambda: bytes((0x80, 111)) + os.urandom(170),
            "bad SRTCP, a BYE": lambda: bytes((0x81, 203, 0, 1)) + os.urandom(40),
            "fatal alert in the clear": lambda: bytes((21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40)),
            "close_notify in the clear": lambda: bytes((21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0)),
            "forged epoch 1": lambda: bytes((23, 254, 253, 0, 1)) + os.urandom(6) + b"\0\x40" + os.urandom(64),
            "ClientHello again": lambda: bytes((22, 254, 253)) + bytes(8) + b"\0\x8c\1" + os.urandom(139),
            "garbage": lambda: os.urandom(100),
            "bad STUN": lambda: b"\0\1\0\x10\x21\x12\xa4\x42" + os.urandom(28),
        }
        for make in kinds.values():
            for _ in range(FLOOD // BURST):
                for _ in range(BURST):
                    caller.end.sendto(make(), caller.server)
                caller.step(0)
            heard = len(caller.client.heard)
            assert caller.run(lambda n=heard: len(caller.client.heard) > n + 5, 5)
        assert not caller.client.closed
        assert caller.call_id in [session["call_id"] for session in server.sessions()]


def test_attacks_no_candidate_of_an_offer_is_contacted_or_resolved(server: Server, asked_names: Path) -> None:
    """An offer makes the server a scanner or a beacon, if what it names is looked up or sent to."""
    names = ("0b1c2d3e-1234-4321-8765-0123456789ab.local", "tracker.example", "localhost", "169.254.169.254")
    with contextlib.closing(udp_socket()) as target, socket.create_server(("127.0.0.1", 0)) as passive:
        port, tcp_port = target.getsockname()[1], passive.getsockname()[1]
        lines = [f"a=candidate:{n} 1 udp 2113937151 {name} {port} typ host" for n, name in enumerate(names)]
        lines += [
            f"a=candidate:8 1 udp 2113937151 127.0.0.1 {port} typ host",
            f"a=candidate:9 1 tcp 1518214911 127.0.0.1 {tcp_port} typ host tcptype passive",
            f"a=candidate:10 1 udp 41885439 127.0.0.1 {port} typ relay raddr tracker.example rport 9",
        ]
        request = urllib.request.Request(
            server.calls_url, audio_offer(*lines).encode(), {"Content-Type": "application/sdp"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert reply.status == 201
            location = reply.headers["Location"]
        assert not select.select([target, passive], [], [], 1.0)[0]
        asked = asked_names.read_text().split()
        assert asked, "the watch works: the listeners' own addresses were asked for"
        assert not set(names[:2]) & set(asked)
        assert all(name.replace(".", "").replace(":", "").isdigit() or name in ("", "::1") for name in asked), asked
        with urllib.request.urlopen(
            urllib.request.Request(f"{server.url}{location}/hangup", b"", method="POST"), timeout=5
        ):
            pass


def test_attacks_log_lines_cannot_be_forged_and_addresses_stay_out(server: Server) -> None:
    """Line ends and escapes in everything a client can write; every line of the log stays one of ours."""
    evil = "x\r\n<3>relayd[worker 0]: error: forged\x1b[31m\x00\u2028forged"
    bodies = [
        audio_offer().replace("s=-", f"s={evil}"),
        audio_offer(f"a=ice-options:{evil}"),
        audio_offer(f"a={evil}:{evil}"),
        evil,
    ]
    with contextlib.closing(socket.create_connection(("127.0.0.1", server.http_port))) as raw:
        raw.sendall(b"GET /\x1b[31mforged HTTP/1.1\r\nHost: forged\x1b\r\nUser-Agent: forged\n<3>forged\r\n\r\n")
        raw.settimeout(5)
        with contextlib.suppress(OSError):
            raw.recv(100)
    for body, more in [*((body, {}) for body in bodies), (audio_offer(), {"Origin": "forged"})]:
        headers = {"Content-Type": "application/sdp", **more}
        request = urllib.request.Request(server.calls_url, body.encode(), headers, method="POST")
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=10).close()
    with UdpCaller(server.calls_url, seed=9) as caller:
        caller.connect()
    assert _drop(server, "log-lines-suppressed") == 0
    text = server.log.read_text()
    assert "connected from a client:" in text
    assert "placed by a client" in text
    for line in text.splitlines():
        assert line.startswith(("relayd[", "transceiverd[")), line
        assert "forged" not in line
        assert all(character.isprintable() for character in line)
        if "placed by" in line or "connected from" in line:
            assert "127.0.0.1" not in line
