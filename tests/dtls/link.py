"""The link of tests/link.py between two peers of these tests (peers.py), which may also be bare OpenSSL."""

import random
from collections import deque
from typing import Any, NamedTuple

from tests.link import Link as AnyLink
from tests.link import Policy
from transceiverd.dtls import Role
from transceiverd.engine import MILLISECOND, SECOND

DELAY = 10 * MILLISECOND


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


class Due(NamedTuple):
    """A peer's deadline."""

    deadline: int


class Speaker:
    """A peer as the link speaks with an engine."""

    def __init__(self, peer: Any) -> None:
        self._peer = peer
        self._ready: deque[bytes] = deque()
        self.receive_datagram = peer.receive
        self.handle_timeout = peer.handle_timeout

    def poll_datagram(self) -> bytes | None:
        """The next one it wants to send."""
        if not self._ready:
            self._ready.extend(self._peer.datagrams())
        return self._ready.popleft() if self._ready else None

    def next_timeout(self) -> Due | None:
        """When it wants to be woken."""
        at = self._peer.timeout()
        return None if at is None else Due(at)


class Link(AnyLink):
    """Two peers, `left` (0) and `right` (1), and one clock."""

    def __init__(self, left: Any, right: Any, policy: Policy = perfect) -> None:
        super().__init__(Speaker(left), Speaker(right), policy=policy, start=1_000 * SECOND)
        self.peers = (left, right)

    @property
    def sent(self) -> list[int]:
        """How many datagrams each has sent."""
        return [len(self.left.sent), len(self.right.sent)]

    def start(self) -> None:
        """Start both, the server first."""
        self.peers[1].start(self.now)
        self.peers[0].start(self.now)
        self.drain()

    def settle(self, seconds: float = 12) -> None:
        """Until nothing happens any more, or the time is up."""
        end = self.now + int(seconds * SECOND)
        while self.step(end):
            pass


def link_by_role(one: Any, other: Any, policy: Policy = perfect) -> Link:
    """A link with the client, by `one`'s role, on the left."""
    return Link(one, other, policy) if one.role == Role.CLIENT else Link(other, one, policy)
