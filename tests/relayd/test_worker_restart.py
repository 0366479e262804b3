"""A worker killed at any instruction, under load: its successor goes on with the same sockets, table and lanes, loses
at most the batch in hand, and the books add up (DESIGN 2.6, 2.9).

Real processes: a worker is forked, fed through its sockets and rings, killed with SIGKILL wherever it happens to be,
reaped, and replaced. The test is client and transceiver at once.
"""

import os
import random
import signal

import pytest

from relayd.outcomes import OUTCOME_NAMES
from tests.relayd import packets
from tests.relayd.rig import PROVEN, PUBLISH, SEND, Call, Rig, until, waiting_bytes
from tests.shm.processes import fork, kill, reap

CALLS = 8
BATCH = 16


class Traffic:
    """Clients that send, a transceiver that sends every packet back, and what both of them know."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.random = random.Random(seed)
        self.calls = [Call(0, slot, 1) for slot in range(CALLS)]
        self.sockets = [rig.client() for _ in self.calls]
        self.keys = [rig.key(client) for client in self.sockets]
        self.requests = [packets.binding_request(rig.ufrag(call)) for call in self.calls]
        self.sent = 0
        self.seen_by_transceiver = 0
        self.asked = 0
        self.came_back = 0
        self.payloads: set[bytes] = set()

    def publish(self) -> None:
        for call, key in zip(self.calls, self.keys, strict=True):
            assert self.rig.ends[0].ask(PUBLISH, call, key, state=PROVEN)
            self.asked += 1

    def burst(self, count: int) -> None:
        for _ in range(count):
            number = self.random.randrange(CALLS)
            kind = self.random.randrange(8)
            if kind == 0:
                packet = self.requests[number]
            elif kind == 1:
                packet = packets.dtls(100)
            elif kind == 2:
                packet = b"\x40 nobody's"
            else:
                packet = packets.rtp() + self.sent.to_bytes(4, "big")
            self.rig.send(self.sockets[number], packet)
            self.sent += 1

    def turn_round(self) -> None:
        """The transceiver: every RTP packet goes back to where it came from."""
        end = self.rig.ends[0]
        self.seen_by_transceiver += len(end.take_handshake())
        for record in end.take_media():
            self.seen_by_transceiver += 1
            assert record.payload not in self.payloads, "a packet was forwarded twice"
            self.payloads.add(record.payload)
            call = self.calls[record.slot]
            assert self.keys[record.slot] == record.key
            assert end.ask(SEND, call, record.key, record.payload, media=True)
            self.asked += 1

    def drain_clients(self) -> None:
        for client in self.sockets:
            client.setblocking(False)
            try:
                while True:
                    data = client.recv(4096)
                    assert data in self.payloads
                    self.came_back += 1
            except BlockingIOError:
                pass


def start_worker(rig: Rig) -> int:
    """A worker in a process of its own."""
    return fork(lambda: rig.make_worker().run(rig.control))


def kill_under_load(kills: int, seed: int) -> int:
    """Packets and records in the hands of those that died."""
    rig = Rig(batch=BATCH, ring_bytes=1 << 20)
    traffic = Traffic(rig, seed)
    worker = start_worker(rig)
    try:
        traffic.publish()
        until(lambda: rig.flows.occupied == CALLS, "all flows")
        for _ in range(kills):
            turns = rig.counters.segment.heartbeat
            until(lambda turns=turns: rig.counters.segment.heartbeat > turns, "the successor")  # type: ignore[misc]
            traffic.burst(traffic.random.randrange(1, 60))
            if traffic.random.random() < 0.5:  # so that it dies sending as often as receiving
                traffic.turn_round()
            for _ in range(traffic.random.randrange(1000)):  # somewhere in what it has just been given
                pass
            os.kill(worker, signal.SIGKILL)
            traffic.burst(traffic.random.randrange(1, 20))  # waits in the socket for the successor
            assert reap(worker) == -signal.SIGKILL
            worker = start_worker(rig)
            traffic.drain_clients()
        settle(rig, traffic)
        check_books(rig, traffic, kills)
        return sum(rig.count(name) for name in ("lost_in_restart", "lost_bound", "out_in_doubt_in_restart"))
    finally:
        kill(worker)
        rig.close()


def settle(rig: Rig, traffic: Traffic) -> None:
    """No more packets; everything that is on its way arrives."""

    def at_rest() -> bool:
        traffic.turn_round()
        traffic.drain_clients()
        return (
            rig.count("received") + rig.count("lost_bound") + rig.count("kernel_dropped_v4") >= traffic.sent
            and rig.booked_in() == rig.count("received")
            and rig.booked_out() == rig.count("out_records")
            and not any(ring["waiting"] for ring in rig.ends[0].lane.status().values())
        )

    # The kernel tells what it dropped with the next datagram that it takes, so there has to be one behind all others.
    until(lambda: waiting_bytes(rig.sockets[0]) == 0, "an empty socket", rig.counters.read)
    traffic.burst(1)
    until(at_rest, "the end of all packets", lambda: (traffic.sent, rig.counters.read(), rig.ends[0].lane.status()))
    traffic.drain_clients()  # what was sent since the last look: a datagram that was sent over loopback has arrived


def check_books(rig: Rig, traffic: Traffic, kills: int) -> None:
    counted = rig.counters.read()
    assert counted["received"] == sum(counted[name] for name in OUTCOME_NAMES)
    # What the kernel gave and nobody booked is within the bound; the bound and the loss within a batch a kill.
    unbooked = traffic.sent - counted["received"] - counted["kernel_dropped_v4"]
    assert 0 <= unbooked <= counted["lost_bound"] <= kills * BATCH
    assert counted["lost_in_restart"] <= kills * BATCH
    # What was lost in a restart may have been forwarded just before; nothing was forwarded twice or made up.
    forwarded = sum(counted[name] for name in OUTCOME_NAMES if name.startswith("forwarded"))
    assert 0 <= traffic.seen_by_transceiver - forwarded <= counted["lost_in_restart"]
    # Media out: at most once, and what is missing is in the ring's own book.
    lost = rig.ends[0].lane.status()["media_out"]["lost"]
    assert traffic.came_back <= len(traffic.payloads)
    assert len(traffic.payloads) - traffic.came_back <= lost <= kills * BATCH
    assert counted["out_refused_owner"] == 0
    # No flow was lost.
    assert rig.flows.occupied == CALLS
    for call, key in zip(traffic.calls, traffic.keys, strict=True):
        flow = rig.flows.lookup(key)
        assert flow is not None
        assert flow.owner.origin == call.origin


def test_worker_killed_under_load_loses_at_most_its_batch_and_the_books_add_up() -> None:
    kill_under_load(kills=8, seed=1)


@pytest.mark.system
@pytest.mark.parametrize("seed", range(4))
def test_worker_killed_two_hundred_times_under_load(seed: int) -> None:
    assert kill_under_load(kills=50, seed=seed) > 0, "no kill hit a worker at work: this proved nothing"
