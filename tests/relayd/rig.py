"""A real Worker between real loopback sockets and real lanes; the transceiver's ends of those are the test's.

`with Rig() as rig:` starts the worker in a thread and stops it by its control descriptor. Waiting is always for a
condition, never for a time; the deadline only turns a hang into a failure.
"""

import contextlib
import fcntl
import os
import select
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from types import TracebackType
from typing import NamedTuple

from relayd.check_gate import CheckGate
from relayd.outcomes import OUT_OUTCOME_NAMES, OUTCOME_NAMES
from relayd.ufrag import UfragKeys, mint
from relayd.worker import Worker, worker_counter_names
from shm.counters import Counters
from shm.flowkey import TRANSPORT_UDP, FlowKey
from shm.flows import FlowTable
from shm.lane import CONTROL_OUT, HANDSHAKE_IN, MEDIA_IN, MEDIA_OUT, Lane
from shm.ring import Record, RingConsumer, RingProducer

STUN, DTLS, RTP, RTCP = 1, 2, 3, 4
PUBLISH, WITHDRAW, PUBLISH_AND_SEND, SEND = 16, 17, 18, 19
FLOW, CONTENDED, CONTENDER = 1, 2, 4
CHECKED, PROVEN = 1, 2

MACHINE = 7
DEADLINE_SECONDS = 20  # generous: the machine may be busy with other tests
RING_BYTES = 1 << 16

IP_PKTINFO, IP_RECVTOS = 8, 13
IPV6_RECVPKTINFO, IPV6_RECVTCLASS = 49, 66
SO_RXQ_OVFL = 40


def until(condition: Callable[[], object], what: str, evidence: Callable[[], object] | None = None) -> None:
    """Waits for the condition; fails by its name, and with the evidence."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}; {evidence() if evidence else ''}"
        time.sleep(0.0005)


def waiting_bytes(sock: socket.socket) -> int:
    """Of the datagram that is next in a socket's queue; 0 when the queue is empty (udp(7), FIONREAD)."""
    return int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)


def open_public_sockets() -> tuple[socket.socket, socket.socket]:
    """The pair of one worker, on one free port, bound to the wildcards, with the options that the worker relies on."""
    while True:
        v4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        v4.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        v4.setsockopt(socket.IPPROTO_IP, IP_RECVTOS, 1)
        v4.bind(("0.0.0.0", 0))
        v6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        v6.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        v6.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVTCLASS, 1)
        for sock in (v4, v6):
            sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        try:
            v6.bind(("::", v4.getsockname()[1]))
        except OSError:
            v4.close()
            v6.close()
            continue
        return v4, v6


class Call(NamedTuple):
    """What a transceiver knows of a call."""

    transceiver: int
    slot: int
    generation: int
    machine: int = MACHINE

    @property
    def origin(self) -> int:
        return (self.machine << 48) | (self.transceiver << 40) | (self.slot << 16) | self.generation


class TransceiverEnd:
    """The other side of one lane."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.handshake_in = RingConsumer(lane.segment, HANDSHAKE_IN)
        self.media_in = RingConsumer(lane.segment, MEDIA_IN, at_most_once=True)
        self.control_out = RingProducer(lane.segment, CONTROL_OUT)
        self.media_out = RingProducer(lane.segment, MEDIA_OUT)
        self.bell = lane.doorbell(2)

    def take(self, ring: RingConsumer) -> list[Record]:
        """What waits in a ring in."""
        records = ring.read(1024)
        ring.release()
        return records

    def take_handshake(self) -> list[Record]:
        return self.take(self.handshake_in)

    def take_media(self) -> list[Record]:
        return self.take(self.media_in)

    def ask(
        self,
        kind: int,
        call: Call,
        key: bytes,
        payload: bytes = b"",
        *,
        media: bool = False,
        state: int = CHECKED,
        incarnation: int | None = None,
        traffic_class: int = 0,
        flags: int = 0,
    ) -> bool:
        """One record out, shown and rung for."""
        ring = self.media_out if media else self.control_out
        written = ring.write(
            kind,
            key,
            payload,
            slot=call.slot,
            generation=call.generation,
            origin=call.origin,
            incarnation=self.lane.incarnation if incarnation is None else incarnation,
            address_state=state,
            traffic_class=traffic_class,
            flags=flags,
        )
        ring.publish()
        self.bell.ring()
        return written


class Rig:
    """A worker and everything around it."""

    def __init__(
        self,
        transceivers: tuple[int, ...] = (0,),
        *,
        batch: int = 64,
        ring_bytes: int = RING_BYTES,
        flows: int = 1024,
        gate: CheckGate | None = None,
    ) -> None:
        self.gate = gate
        self.keys = UfragKeys.generate()
        self.sockets = open_public_sockets()
        self.port = self.sockets[0].getsockname()[1]
        self.batch = batch
        self.flows = FlowTable.create(flows)
        self.counters = Counters.create(worker_counter_names())
        self.ends: dict[int, TransceiverEnd] = {}
        self.clients: list[socket.socket] = []
        self.control, self._control_far = os.pipe()
        self._ring_bytes = ring_bytes
        self._thread: threading.Thread | None = None
        self._failure: list[BaseException] = []
        for transceiver in transceivers:
            self.add_lane(transceiver)
        self.worker = self.make_worker()

    def add_lane(self, transceiver: int) -> TransceiverEnd:
        size = self._ring_bytes
        lane = Lane.create(
            transceiver,
            0,
            handshake_in=size,
            media_in=size,
            control_out=size,
            media_out=size,
            incarnation=1000 + transceiver,
        )
        self.flows.set_incarnation(transceiver, lane.incarnation)
        self.ends[transceiver] = TransceiverEnd(lane)
        return self.ends[transceiver]

    def make_worker(self) -> Worker:
        """In the process that will run it."""
        fds = (self.sockets[0].fileno(), self.sockets[1].fileno())
        worker = Worker(
            0,
            fds,
            self.flows.segment,
            self.counters.segment,
            self.keys,
            machine=MACHINE,
            batch=self.batch,
            gate=self.gate,
        )
        for end in self.ends.values():
            worker.attach_lane(end.lane)
        return worker

    # ---- running

    def start(self) -> None:
        """The worker in a thread of its own."""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.worker.run(self.control)
        except BaseException as error:  # noqa: BLE001 - handed to the test in `stop`
            self._failure.append(error)

    def stop(self) -> None:
        """By the control descriptor, as the supervisor does."""
        if self._thread is not None:
            os.write(self._control_far, b"x")
            self._thread.join(DEADLINE_SECONDS)
            assert not self._thread.is_alive(), "the worker does not come back"
            self._thread = None
            os.read(self.control, 1)
        if self._failure:
            raise self._failure.pop()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The worker does not run meanwhile: to change what it works with."""
        self.stop()
        yield
        self.start()

    def __enter__(self) -> "Rig":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self.close()

    def close(self) -> None:
        for sock in (*self.sockets, *self.clients):
            sock.close()
        for fd in (self.control, self._control_far):
            os.close(fd)

    # ---- the client's side

    def client(self, family: int = socket.AF_INET, local: str | None = None) -> socket.socket:
        """A client's socket on loopback, connected to nothing."""
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind((local or ("127.0.0.1" if family == socket.AF_INET else "::1"), 0))
        sock.settimeout(DEADLINE_SECONDS)
        self.clients.append(sock)
        return sock

    def send(self, client: socket.socket, data: bytes, to: str | None = None) -> None:
        address = to or ("127.0.0.1" if client.family == socket.AF_INET else "::1")
        client.sendto(data, (address, self.port))

    def key(self, client: socket.socket, to: str | None = None) -> bytes:
        """The flow key of this client's datagrams to our address `to`."""
        host, port = client.getsockname()[:2]
        local = ip_address(to or ("127.0.0.1" if client.family == socket.AF_INET else "::1"))
        return FlowKey(TRANSPORT_UDP, ip_address(host), port, local, self.port).pack()

    def ufrag(self, call: Call, keys: UfragKeys | None = None) -> str:
        return mint(keys or self.keys, call.machine, call.transceiver, call.slot, call.generation, 0xABCDEF)

    # ---- the books

    def count(self, name: str) -> int:
        return self.counters[name]

    def settled(self, received: int) -> dict[str, int]:
        """All counters, once `received` datagrams have their outcome."""
        until(lambda: self.count("received") == received and self.booked_in() == received, f"{received} outcomes")
        return self.counters.read()

    def out_settled(self, records: int) -> dict[str, int]:
        """All counters, once `records` records from out rings have their outcome."""
        until(lambda: self.count("out_records") == records and self.booked_out() == records, f"{records} out outcomes")
        return self.counters.read()

    def booked_in(self) -> int:
        return sum(self.count(name) for name in OUTCOME_NAMES)

    def booked_out(self) -> int:
        return sum(self.count(name) for name in OUT_OUTCOME_NAMES)


def nothing_arrives(client: socket.socket) -> bool:
    """Nothing waits at the client; asked once all is known to be sent, so no waiting."""
    return not select.select([client], [], [], 0)[0]
