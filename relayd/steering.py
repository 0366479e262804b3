"""How many workers the kernel gives packets to: as few as the load needs.

Owned by the supervisor, which looks every LOOK_NS (children.py). Why fewer: what a packet costs at light load is waking
up, and waking a process on another CPU most of all. With all packets in one worker each wake-up brings more of them,
and the transceiver's media thread can run on the same CPU (transceiverd/media/placement.pyx). bench/README.md, "Where
it runs", has the figures. Why more: a worker that is busy half of its time needs company.

How: all sockets of a family are one SO_REUSEPORT group, in the order of the workers (sockets.py). A classic BPF program
on the group picks the socket for each packet: always the same one, or one of the first `width` by the client's address
and port. No program: the kernel's own hash over all. Any user may attach one. Every worker knows all flows, so it does
not matter who gets a packet. A change may let a packet overtake one that waits in a worker which is held up, no more.

Rules: `decide` from how busy each worker was since the last look; wider at once, narrower after CALM_NS. A worker whose
heart does not beat is passed over at the next look, long before it counts as stuck.

Left out: choosing a socket by the CPU that a packet came in on (a network card's queues), which needs root for its map.
"""

import ctypes
import errno
import logging
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

log = logging.getLogger("supervisor")

SO_ATTACH_REUSEPORT_CBPF = 51
SO_DETACH_REUSEPORT_BPF = 68

LOOK_NS = 100_000_000
"""Between two looks. At twice the load that one worker carries, a receive buffer holds half a second."""
CALM_NS = 1_000_000_000
"""How long it must have been calm before packets go to fewer workers."""
CALM_SHARE = 0.7
"""Of `spread_above`: narrower once the work of all would be so much for half of them. The gap is what keeps it from
going to and fro: spread, the same packets cost up to a third more."""


class Reading(NamedTuple):
    """What is seen of a worker at a look."""

    heartbeat: int
    asleep_ns: int
    """Since relayd started, over all its processes."""


@dataclass
class Choice:
    """Packets go to `width` of the workers; to `first` alone while that is 1."""

    width: int
    first: int = 0

    @property
    def workers(self) -> list[int]:
        """Whose they are."""
        return [self.first] if self.width == 1 else list(range(self.width))


class Rule:
    """The choice alone: no clock, no socket."""

    def __init__(self, workers: int, spread_above: float) -> None:
        """`spread_above`: share of its time, 0 to 1; 0: always all."""
        self.choice = Choice(workers)
        self.spread_above = spread_above
        self._workers = workers
        self._readings: Sequence[Reading] = ()
        self._looked_ns = 0
        self._calm_since: int | None = None

    def decide(self, readings: Sequence[Reading], now: int) -> Choice:
        """One look."""
        before, elapsed = self._readings, now - self._looked_ns
        self._readings, self._looked_ns = list(readings), now
        if not before or elapsed <= 0:
            return self.choice
        busy = [
            1 - min(max(new.asleep_ns - old.asleep_ns, 0) / elapsed, 1)
            for old, new in zip(before, readings, strict=True)
        ]
        beats = [new.heartbeat != old.heartbeat for old, new in zip(before, readings, strict=True)]
        self.choice = self._away(busy, beats) or self._wider(busy) or self._narrower(busy, now) or self.choice
        return self.choice

    def _away(self, busy: list[float], beats: list[bool]) -> Choice | None:
        """From a worker that stands still to one that does not, if those that do not have the time."""
        alive = [worker for worker, beat in enumerate(beats) if beat]
        if all(beats[worker] for worker in self.choice.workers) or not alive:
            return None
        if not self.spread_above or sum(busy[worker] for worker in alive) > self.spread_above:
            return None
        self._calm_since = None
        return Choice(1, alive[0])

    def _wider(self, busy: list[float]) -> Choice | None:
        """At once."""
        width = self.choice.width
        if not self.spread_above:
            return Choice(self._workers)
        active = sum(busy[worker] for worker in self.choice.workers)
        if width < self._workers and active > self.spread_above * width:
            self._calm_since = None
            return Choice(min(width * 2, self._workers))
        return None

    def _narrower(self, busy: list[float], now: int) -> Choice | None:
        """After some calm."""
        width = (self.choice.width + 1) // 2
        if self.choice.width == 1 or sum(busy[: self.choice.width]) > CALM_SHARE * self.spread_above * width:
            self._calm_since = None
            return None
        if self._calm_since is None:
            self._calm_since = now
        if now - self._calm_since < CALM_NS:
            return None
        self._calm_since = None
        return Choice(width)


class Steering:
    """The choice, carried out on the sockets."""

    def __init__(self, sockets: Sequence[socket.socket], workers: int, spread_above_percent: int) -> None:
        """`sockets`: one of each family's group. Starts with packets for all workers."""
        self._sockets = sockets
        self._workers = workers
        self._rule = Rule(workers, spread_above_percent / 100)
        self._refused = False
        self._applied = Choice(0)
        self._apply(self._rule.choice)

    @property
    def choice(self) -> Choice:
        """As applied."""
        return self._applied

    def configure(self, spread_above_percent: int) -> None:
        """From the next look on."""
        self._rule.spread_above = spread_above_percent / 100

    def look(self, readings: Sequence[Reading], now: int) -> None:
        """Decide, and tell the kernel."""
        if self._workers > 1 and not self._refused:
            self._apply(self._rule.decide(readings, now))

    def _apply(self, choice: Choice) -> None:
        if choice == self._applied:
            return
        self._applied = choice
        try:
            for sock in self._sockets:
                steer(sock, choice, self._workers)
        except OSError as error:
            self._refused = True
            log.warning("packets cannot be steered to fewer workers (%s); the kernel spreads them over all", error)
            for sock in self._sockets:
                _detach(sock)
            self._applied = Choice(self._workers)


def steer(sock: socket.socket, choice: Choice, workers: int) -> None:
    """Have the kernel choose so among the group of `sock`. OSError: it does not want to."""
    if choice.width >= workers:
        _detach(sock)
        return
    program = _one(choice.first) if choice.width == 1 else _spread(choice.width, sock.family)
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: how many, where
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, struct.pack("HP", len(program), ctypes.addressof(buffer))
    )


def _detach(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0)
    except OSError as error:  # none was attached, or the socket is alone on its port
        if error.errno not in (errno.ENOENT, errno.EINVAL):
            log.warning("packets stay with some workers: %s", error)


Instruction = tuple[int, int, int, int]
"""struct sock_filter: code, jump if true, jump if false, k (linux/bpf_common.h)."""

_LOAD_WORD, _LOAD_HALF, _TO_X = 0x20, 0x28, 0x07
_XOR_X, _MULTIPLY, _SHIFT_RIGHT, _MODULO = 0xAC, 0x24, 0x74, 0x94
_RETURN, _RETURN_A = 0x06, 0x16
_NETWORK_HEADER = 0x1_0000_0000 - 0x100000  # SKF_NET_OFF
_MIX_PORT, _MIX = 0x9E3779B1, 0x85EBCA6B  # odd, bits spread well


def _one(worker: int) -> list[Instruction]:
    return [(_RETURN, 0, 0, worker)]


def _spread(width: int, family: int) -> list[Instruction]:
    """By the client's address (its last 32 bits) and port; behind IP options other bytes are mixed in, of no harm."""
    address, port = (12, 20) if family == socket.AF_INET else (20, 40)
    return [
        (_LOAD_WORD, 0, 0, _NETWORK_HEADER + address),
        (_TO_X, 0, 0, 0),
        (_LOAD_HALF, 0, 0, _NETWORK_HEADER + port),
        (_MULTIPLY, 0, 0, _MIX_PORT),
        (_XOR_X, 0, 0, 0),
        (_MULTIPLY, 0, 0, _MIX),
        (_SHIFT_RIGHT, 0, 0, 16),
        (_MODULO, 0, 0, width),
        (_RETURN_A, 0, 0, 0),
    ]
