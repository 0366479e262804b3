"""A link between two peers in simulated time: each datagram may be lost, late, or doubled, as a policy says.

policy(direction, number, datagram) -> delays in nanoseconds, one per copy that arrives
"""

import heapq
import random
from collections.abc import Callable
from typing import Any

from transceiverd.engine import MILLISECOND, SECOND

DELAY = 10 * MILLISECOND

Policy = Callable[[int, int, bytes], list[int]]


def perfect(direction: int, number: int, datagram: bytes) -> list[int]:
    """Everything arrives."""
    return [DELAY]


def lossy(seed: int, loss: float, double: float = 0.1, jitter: int = 60 * MILLISECOND) -> Policy:
    """Loss, duplication and reordering by jitter, the same for the same seed."""
    dice = random.Random(seed)

    def policy(direction: int, number: int, datagram: bytes) -> list[int]:
        if dice.random() < loss:
            return []
        copies = 2 if dice.random() < double else 1
        return [DELAY + dice.randrange(jitter) for _ in range(copies)]

    return policy


class Link:
    """Two peers, `left` (0) and `right` (1), and one clock."""

    def __init__(self, left: Any, right: Any, policy: Policy = perfect) -> None:
        self.peers = (left, right)
        self.policy = policy
        self.now = 1_000 * SECOND  # monotonic clocks start anywhere
        self.sent = [0, 0]
        self._flying: list[tuple[int, int, int, bytes]] = []
        self._order = 0

    def start(self) -> None:
        """Start both, the server first."""
        self.peers[1].start(self.now)
        self.peers[0].start(self.now)
        self.drain()

    def drain(self) -> None:
        """Take what both want to send."""
        for direction, peer in enumerate(self.peers):
            for datagram in peer.datagrams():
                for delay in self.policy(direction, self.sent[direction], datagram):
                    self._order += 1
                    heapq.heappush(self._flying, (self.now + delay, self._order, direction, datagram))
                self.sent[direction] += 1

    def step(self, end: int) -> bool:
        """Go to the next arrival or time-out; False when there is none before `end`."""
        deadlines = [at for peer in self.peers if (at := peer.timeout()) is not None]
        if self._flying:
            deadlines.append(self._flying[0][0])
        if not deadlines or min(deadlines) > end:
            return False
        self.now = max(self.now, min(deadlines))
        for peer in self.peers:
            if (at := peer.timeout()) is not None and at <= self.now:
                peer.handle_timeout(self.now)
        while self._flying and self._flying[0][0] <= self.now:
            _, _, direction, datagram = heapq.heappop(self._flying)
            self.peers[1 - direction].receive(datagram, self.now)
        self.drain()
        return True

    def run(self, seconds: float = 12) -> None:
        """Until nothing happens any more, or the time is up."""
        end = self.now + int(seconds * SECOND)
        while self.step(end):
            pass
