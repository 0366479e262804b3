"""A link between two sans-I/O engines: seeded, lossy, reordering, duplicating, and with a clock of its own.

For any engine with `receive_datagram`, `handle_timeout(now)`, `next_timeout()`, `poll_datagram()` and optionally
`poll_event()` (DESIGN 2.12). Nothing here waits: time jumps from one arrival or deadline to the next, so an hour of
consent checks takes as long as its packets take to handle. The same seed gives the same run.

    link = Link(left, right, seed=7, loss=0.2, duplicates=0.1, delay_ms=(5, 80))
    assert link.run(until=lambda: any(isinstance(event, PairNominated) for event in link.left.events))

Engines that speak `Datagram` (a session, an ICE agent) are addressed: the destination of what one sends, turned round,
is the source that the other sees. Engines that poll plain bytes (DTLS, SCTP) get plain bytes. An engine with other
entrances (a session takes STUN and DTLS apart) is wrapped with `receive=`.
"""

import heapq
import random
from collections.abc import Callable
from typing import Any

from shm.flowkey import FlowKey
from transceiverd.engine import MILLISECOND, SECOND, Datagram

Receive = Callable[[bytes, bytes | None, int], None]
# policy(direction (0 from the left), number in that direction, data) -> delays in ns, one for each copy that arrives
Policy = Callable[[int, int, bytes], list[int]]

# Deadlines of one engine at the same moment before we say that it will never let time go on. A late engine may have
# many things due at once, but each call does all of them.
STANDSTILL_MAX = 1_000


def turned(key: bytes) -> bytes:
    """A flow key as the other end sees it: client and local side exchanged."""
    seen = FlowKey.unpack(key)
    return FlowKey(seen.transport, seen.local, seen.local_port, seen.client, seen.client_port, seen.scope).pack()


class Endpoint:
    """One side of a link: an engine, and everything it said."""

    def __init__(self, engine: Any, receive: Receive | None = None, name: str = "") -> None:
        self.engine = engine
        self.name = name
        self.events: list[Any] = []
        self.sent: list[tuple[int, Datagram | bytes]] = []  # (when, what), before the link does anything to it
        self.received: list[tuple[int, bytes]] = []
        self.receive = receive or self._receive

    def _receive(self, data: bytes, source: bytes | None, now: int) -> None:
        if source is None:
            self.engine.receive_datagram(data, now)
        else:
            self.engine.receive_datagram(data, source, now)

    def saw(self, kind: type) -> bool:
        """Whether an event of this type was raised."""
        return any(isinstance(event, kind) for event in self.events)


class Link:
    """Two endpoints and the wire between them.

    `loss` and `duplicates` are chances; `delay_ms` the range a packet's delay is drawn from (a wide one reorders). Or
    `policy` says for each packet what becomes of it.
    `tamper(data)` may change a packet or, with `None`, swallow it. `up` False cuts the wire. All may change on the way.
    """

    def __init__(
        self,
        left: Any,
        right: Any,
        *,
        seed: int = 0,
        loss: float = 0.0,
        duplicates: float = 0.0,
        delay_ms: tuple[float, float] = (10, 10),
        start: int = SECOND,
        policy: Policy | None = None,
    ) -> None:
        self.left = left if isinstance(left, Endpoint) else Endpoint(left, name="left")
        self.right = right if isinstance(right, Endpoint) else Endpoint(right, name="right")
        self.now = start
        self.loss = loss
        self.duplicates = duplicates
        self.delay_ms = delay_ms
        self.up = True
        self.policy = policy or self._dice
        self.tamper: Callable[[bytes], bytes | None] = lambda data: data
        self.random = random.Random(seed)
        self._flying: list[tuple[int, int, Endpoint, bytes, bytes | None]] = []
        self._order = 0

    def run(self, until: Callable[[], bool] = lambda: False, seconds: float = 60.0) -> bool:
        """Let time pass until `until()` or for `seconds`; returns `until()`. Both ends are drained when it returns."""
        end = self.now + int(seconds * SECOND)
        moments = 0
        self.drain()
        while not until():
            before = self.now
            if not self.step(end):
                self.now = end
                return until()
            moments = moments + 1 if self.now <= before else 0
            assert moments < STANDSTILL_MAX, f"time stands still: {self._deadlines()}"
        return True

    def step(self, end: int) -> bool:
        """Go to the next arrival or deadline and do all that is due; False when there is none until `end`."""
        at = self._next()
        if at is None or at > end:
            return False
        self.now = max(self.now, at)
        self._step()
        return True

    def drain(self) -> None:
        """Put on the wire what both ends have to send, and collect their events."""
        for direction, (end, peer) in enumerate(((self.left, self.right), (self.right, self.left))):
            while (datagram := end.engine.poll_datagram()) is not None:
                end.sent.append((self.now, datagram))
                self._transmit(direction, len(end.sent) - 1, datagram, peer)
            if hasattr(end.engine, "poll_event"):
                while (event := end.engine.poll_event()) is not None:
                    end.events.append(event)

    def inject(self, to: Endpoint, data: bytes, source: bytes | None = None) -> None:
        """A packet from nowhere, handed over at once."""
        self._hand_over(to, data, source)

    def _transmit(self, direction: int, number: int, datagram: Datagram | bytes, peer: Endpoint) -> None:
        data, source = datagram, None
        if isinstance(datagram, Datagram):
            data, source = datagram.data, turned(datagram.destination)
        for delay in self.policy(direction, number, data):
            changed = self.tamper(data)
            if self.up and changed is not None:
                self._order += 1
                heapq.heappush(self._flying, (self.now + delay, self._order, peer, changed, source))

    def _dice(self, _direction: int, _number: int, _data: bytes) -> list[int]:
        delays = []
        for _ in range(1 + (self.random.random() < self.duplicates)):
            lost = self.random.random() < self.loss
            delay = int(self.random.uniform(*self.delay_ms) * MILLISECOND)
            if not lost:
                delays.append(delay)
        return delays

    def _deadlines(self) -> list[tuple[str, Any]]:
        timeouts = ((end.name, end.engine.next_timeout()) for end in (self.left, self.right))
        return [(name, timeout) for name, timeout in timeouts if timeout is not None]

    def _next(self) -> int | None:
        times = [timeout.deadline for _, timeout in self._deadlines()]
        if self._flying:
            times.append(self._flying[0][0])
        return min(times, default=None)

    def _step(self) -> None:
        """All that is due now; arrivals before timers, as a process that was late would take them."""
        while self._flying and self._flying[0][0] <= self.now:
            _, _, to, data, source = heapq.heappop(self._flying)
            self._hand_over(to, data, source)
        for end in (self.left, self.right):
            timeout = end.engine.next_timeout()
            if timeout is not None and timeout.deadline <= self.now:
                end.engine.handle_timeout(self.now)
                self.drain()

    def _hand_over(self, to: Endpoint, data: bytes, source: bytes | None) -> None:
        to.received.append((self.now, data))
        to.receive(data, source, self.now)
        self.drain()
