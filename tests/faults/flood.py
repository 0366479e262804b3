"""Hostile mixes at the UDP port, and what a legitimate caller notices of them.

Used by test_flood.py, which asserts, and bench/flood.py, which measures. The worker is held to a share of a CPU, so
that a load beyond its saturation can be made on this machine. The mix, in equal parts: random bytes; checks with a live
ufrag and wrong integrity; a genuine check of somebody else, replayed; SRTP that authenticates nothing, from the address
of a call. Everything goes to loopback, for seconds.
"""

import os
import random
import re
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from select import select

from relayd.relay_client import RelayClient
from relayd.status import Status, WorkerStatus
from tests.daemons import Server
from tests.udp_caller import UdpCaller, udp_socket
from transceiverd.ice import stun

KINDS = 256  # packets of each kind, sent in turn
STRANGER, CALLER = 0, 1  # whose socket
PROBE_SECONDS = 0.02  # between two checks of the legitimate caller
ANSWER_SECONDS = 1.0  # an answer that comes later is none
SATURATING_RATE = 400_000.0  # more than any worker here takes
Packet = tuple[int, bytes]


def check(caller: UdpCaller, password: bytes | None = None) -> bytes:
    """A Binding request of `caller`'s call; with its own password unless another is given."""
    answer = dict(line[2:].split(":", 1) for line in caller.answer.splitlines() if re.match("a=ice-[up]", line))
    message = stun.Message(stun.REQUEST, os.urandom(12))
    message.username = f"{answer['ice-ufrag']}:cl1e".encode()
    message.priority = 1 << 30
    message.controlling = 1
    message.fingerprint = True
    return message.serialize(answer["ice-pwd"].encode() if password is None else password)


def hostile_mix(victim: UdpCaller, accomplice: UdpCaller) -> list[Packet]:
    """What a flood consists of; `accomplice` has a call of its own, and its address sends what looks like audio."""
    source = random.Random(1)
    genuine = check(victim)
    mix: list[Packet] = []
    for _ in range(KINDS):
        rtp = bytes((0x80, 111)) + source.randbytes(6) + accomplice.client.ssrc.to_bytes(4, "big")
        mix += [
            (STRANGER, source.randbytes(source.randrange(1, 300))),
            (STRANGER, check(victim, b"wrong-wrong-wrong-wrong-wrong")),
            (STRANGER, genuine),
            (CALLER, rtp + source.randbytes(100)),
        ]
    return mix


class Flooder:
    """The native sender."""

    def __init__(self, packets: list[Packet], port: int, sockets: tuple[socket.socket, socket.socket]) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="ringline-flood-")
        place = Path(self._directory.name)
        self._program, self._file = place / "flooder", place / "packets"
        self._port, self._fds = port, tuple(end.fileno() for end in sockets)
        source = Path(__file__).with_name("flooder.c")
        subprocess.run(["gcc", "-O2", "-o", self._program, source], check=True)
        self._file.write_bytes(b"".join(bytes((fd,)) + len(data).to_bytes(2, "little") + data for fd, data in packets))

    def flood(self, rate: float, seconds: float) -> float:
        """Send; gives the packets a second that left."""
        command = [str(part) for part in (self._program, self._file, self._port, rate, seconds, *self._fds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, pass_fds=self._fds)
        sent, took = done.stdout.split()
        return int(sent) / float(took)

    def close(self) -> None:
        """Remove the files."""
        self._directory.cleanup()


@dataclass(frozen=True)
class Answers:
    """What became of a legitimate caller's checks; each is asked once, without retransmission."""

    asked: int
    answered: int
    latest_ms: float

    @property
    def share(self) -> float:
        """Of the checks that were answered in time."""
        return self.answered / max(1, self.asked)


class Prober:
    """Asks all the time, from the address of an established call, on a thread of its own."""

    def __init__(self, caller: UdpCaller) -> None:
        self._caller = caller
        self._asked: dict[bytes, float] = {}
        self._took: dict[bytes, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def between(self, start: float, end: float) -> Answers:
        """About the checks of that time (monotonic seconds); call it ANSWER_SECONDS after `end`."""
        asked = [each for each, at in list(self._asked.items()) if start <= at < end]
        took = [self._took[each] for each in asked if self._took.get(each, ANSWER_SECONDS) < ANSWER_SECONDS]
        return Answers(len(asked), len(took), max(took, default=0) * 1000)

    def close(self) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        end, due = self._caller.end, time.monotonic()
        while not self._over.is_set():
            if time.monotonic() >= due:
                due += PROBE_SECONDS
                packet = check(self._caller)
                self._asked[packet[8:20]] = time.monotonic()
                end.sendto(packet, self._caller.server)
            if select([end], [], [], max(0.0, due - time.monotonic()))[0]:
                data = end.recv(2048)
                if data[:2] == b"\x01\x01" and (asked := self._asked.get(data[8:20])):
                    self._took[data[8:20]] = time.monotonic() - asked


def status(server: Server) -> Status:
    """Asked directly: what relayctl takes to start would count as time of the flood."""
    with RelayClient(server.directory) as relay:
        return relay.status()


def worker(server: Server) -> WorkerStatus:
    """The one there is."""
    (one,) = status(server).workers
    return one


def saturation(server: Server, flooder: Flooder, seconds: float = 1.5) -> float:
    """Packets a second that the worker takes when there are more than it can take: its backlog has to be full first."""
    flooder.flood(SATURATING_RATE, seconds / 2)
    before, start = worker(server), time.monotonic()
    flooder.flood(SATURATING_RATE, seconds)
    after, took = worker(server), time.monotonic() - start
    dropped = after.beside.get("kernel_dropped_v4", 0) - before.beside.get("kernel_dropped_v4", 0)
    assert dropped, "the flooder could not saturate the worker: give it less of a CPU"
    return (after.packets.taken - before.packets.taken) / took


__all__ = ["Answers", "Flooder", "Prober", "check", "hostile_mix", "saturation", "status", "udp_socket", "worker"]
