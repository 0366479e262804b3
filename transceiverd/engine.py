"""The few types that every sans-I/O engine of Ringline speaks (DESIGN 2.12).

An engine takes bytes and `now` (integer nanoseconds, monotonic) and is drained by its owner after every call:
`poll_datagram()` and `poll_event()` until `None`, then one timer is set from `next_timeout()`. Peer input never raises
past an engine: it is a counted drop here, or the terminal event `Closed`.
"""

from collections import Counter
from typing import NamedTuple

from shm.errors import MalformedPacket

MILLISECOND = 1_000_000
SECOND = 1_000_000_000


class Datagram(NamedTuple):
    """One UDP payload to send.

    `destination` is a packed flow key (48 bytes, `shm.flowkey`): the client's address and the local address to leave
    from. With `publish` the relay worker first makes this call the owner of that flow, and sends only if that worked.
    """

    data: bytes
    destination: bytes
    publish: bool = False


class Timeout(NamedTuple):
    """An engine's one next deadline, in nanoseconds, and the name of what will then be due."""

    deadline: int
    reason: str


def earlier(one: Timeout | None, other: Timeout | None) -> Timeout | None:
    """Which of two deadlines comes first, where there are any."""
    if one is None or (other is not None and other.deadline < one.deadline):
        return other
    return one


class Closed(NamedTuple):
    """The engine is done for good; `reason` is a fixed string."""

    reason: str


class Drops(Counter[str]):
    """Packets that an engine refused, by fixed reason."""

    def malformed(self, error: MalformedPacket) -> None:
        """Count what a parser refused."""
        self[error.reason] += 1
