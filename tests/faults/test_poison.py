"""A record that kills whoever handles it cannot do so for ever: tried once more at most, then skipped and counted.

The poison is real: the process ends in the middle of handling it, by a signal. Control records are read at least once:
a worker's successor tries again and its successor skips. Packets are handled at most once (DESIGN 2.6): a transceiver's
successor, to which the calls of its predecessor are over, does not try at all.
"""

import os
import signal
import socket
import time
from ipaddress import ip_address
from pathlib import Path

import pytest

from relayd.status import Ring
from shm.flowkey import TRANSPORT_UDP, FlowKey
from tests.daemons import Server, running, wait_for
from tests.faults.poisoned_transceiverd import POISON, POISONED_SLOT
from tests.udp_caller import UdpCaller, udp_socket
from transceiverd.ice import stun

pytestmark = pytest.mark.system

TRANSCEIVERD = ("-m", "tests.faults.poisoned_transceiverd")
RELAYD = ("-m", "tests.faults.poisoned_relayd")
QUIET_SECONDS = 1.0


def _rings(server: Server, name: str) -> list[tuple[int, int, Ring]]:
    """(transceiver, worker, ring) of each ring of that name."""
    lanes = server.status().lanes
    return [(lane.transceiver, lane.worker, ring) for lane in lanes for ring in lane.rings if ring.ring == name]


def _control_counter(server: Server, transceiver: int, name: str) -> int:
    """Of a transceiver's control thread."""
    (owner,) = (
        owner
        for one in server.status().transceivers
        for owner in one.owners
        if owner.owner == f"transceiver {transceiver} control"
    )
    return owner.counters.get(name, 0)


def _deaths(server: Server, name: str) -> int:
    return sum(f"{name} (pid " in line and "was killed by" in line for line in server.logged().splitlines())


def _poisoned_check(caller: UdpCaller) -> bytes:
    """Its ufrag verifies, so it reaches the transceiver; what it says beside that is nobody's business, almost."""
    message = stun.Message(stun.REQUEST, os.urandom(12))
    ours = caller.answer.split("a=ice-ufrag:")[1].split()[0]
    message.username = f"{ours}:".encode() + POISON
    message.priority = 1
    message.controlling = 1
    message.fingerprint = True
    return message.serialize(b"wrong-wrong-wrong-wrong-wrong")


def test_poison_in_a_handshake_ring_kills_one_transceiver_once() -> None:
    with running(workers=1, transceivers=2, python=TRANSCEIVERD) as server:
        callers = [UdpCaller(server.calls_url, seed=seed) for seed in range(2)]
        for caller in callers:
            caller.connect()
        home = {session["call_id"]: session["transceiver"] for session in server.sessions()}
        victim, other = sorted(callers, key=lambda caller: home[caller.call_id] != 0)
        first = len(other.client.heard)
        victim.end.sendto(_poisoned_check(victim), victim.server)
        assert victim.run(lambda: victim.client.closed, 5), "the clients of the dead are told"
        assert other.run(lambda: len(other.client.heard) > first + 50, 5)
        assert _deaths(server, "transceiver 0") == 1
        assert [_control_counter(server, transceiver, "records-lost") for transceiver in range(2)] == [1, 0]
        server.await_ready()
        with UdpCaller(server.calls_url, seed=7) as again:
            again.connect()
        for caller in callers:
            caller.end.close()


def test_poison_in_a_call_that_is_to_be_told_goodbye_is_skipped_after_two_deaths() -> None:
    with running(workers=1, transceivers=1, python=TRANSCEIVERD) as server:
        callers = [UdpCaller(server.calls_url, seed=seed) for seed in range(POISONED_SLOT + 2)]
        for caller in callers:
            caller.connect()
        os.kill(server.pids("transceiverd")["transceiver0"], signal.SIGKILL)
        for caller in callers[:POISONED_SLOT] + callers[POISONED_SLOT + 1 :]:
            assert caller.run(lambda c=caller: c.client.closed, 5), "all but one are told"
        assert not callers[POISONED_SLOT].run(lambda: callers[POISONED_SLOT].client.closed, QUIET_SECONDS)
        server.await_ready()
        assert _deaths(server, "transceiver 0") == 3  # ours, and two of the poison
        assert _control_counter(server, 0, "farewell-skipped") == 1
        with UdpCaller(server.calls_url, seed=7) as again:
            again.connect()
        for caller in callers:
            caller.end.close()


def socket_of_worker(server: Server, worker: int) -> socket.socket:
    """The kernel spreads addresses over the workers' sockets; try until one comes out there."""
    for _ in range(64):
        end = udp_socket()
        before = [one.packets.taken for one in server.status().workers]
        end.sendto(b"\xff who hears me", ("127.0.0.1", server.udp_port))
        wait_for(lambda b=before: [one.packets.taken for one in server.status().workers] != b, "it is counted")
        if server.status().workers[worker].packets.taken > before[worker]:
            return end
        end.close()
    raise AssertionError(f"no address comes out at worker {worker}")


def test_poison_in_a_control_ring_is_tried_once_more_and_then_skipped_by_the_worker(tmp_path: Path) -> None:
    poison = tmp_path / "poison"
    options = {"launchers": {"relayd": RELAYD}, "environment": {"RINGLINE_POISON": str(poison)}}
    spread = "spread_above_percent = 0"  # so that the two have a worker each
    with running(workers=2, transceivers=1, relay=spread, **options) as server:
        elsewhere = socket_of_worker(server, 0)
        end = socket_of_worker(server, 1)
        caller = UdpCaller(server.calls_url, end)
        host, port = end.getsockname()
        ours, our_port = caller.server
        poison.write_bytes(FlowKey(TRANSPORT_UDP, ip_address(host), port, ip_address(ours), our_port).pack())
        os.kill(server.pids("relayd")["relayd-worker0"], signal.SIGKILL)
        wait_for(lambda: _deaths(server, "worker 0") == 1, "its successor is poisoned")
        caller.connect()
        wait_for(lambda: _skipped(server) > 0, "the record is skipped")
        _settle(server, caller)
        # Each publish of this flow is one more such record: two deaths each, and none is left in the ring.
        assert _deaths(server, "worker 0") == 1 + 2 * _skipped(server)
        assert server.status().workers[0].last_end == "was killed by SIGSEGV"
        with UdpCaller(server.calls_url, elsewhere, seed=5) as other:
            other.connect()
        end.close()


def _skipped(server: Server) -> int:
    (lost,) = (ring.lost for _, worker, ring in _rings(server, "control out") if worker == 0)
    return lost


def _settle(server: Server, caller: UdpCaller) -> None:
    """Until worker 0 has not died for a while; the call, at worker 1, is heard all the time."""
    deadline = time.monotonic() + 20
    deaths, since = _deaths(server, "worker 0"), time.monotonic()
    while time.monotonic() - since < 2:
        assert time.monotonic() < deadline, server.logged()
        heard = len(caller.client.heard)
        assert caller.run(lambda h=heard: len(caller.client.heard) > h + 10, 5)
        if (now := _deaths(server, "worker 0")) != deaths:
            deaths, since = now, time.monotonic()
