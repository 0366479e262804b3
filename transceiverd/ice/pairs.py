"""Candidate pairs of a controlling agent and the list they are checked from (RFC 8445 6.1.2, 7.2).

A pair is named by a packed flow key seen from here: the peer's address in the client fields, ours in the local ones,
which is what `Datagram.destination` means. There is one component (BUNDLE, rtcp-mux), so foundations free nothing
and no pair starts frozen.

    WAITING --check sent--> IN_PROGRESS --success--> SUCCEEDED
       ^                      |    |                     |
       +---- role conflict ---+    +-- error, time-out --+--> FAILED --peer checks us--> WAITING
"""

from collections.abc import Iterator

WAITING = "waiting"
IN_PROGRESS = "in-progress"
SUCCEEDED = "succeeded"
FAILED = "failed"

TRANSITIONS = frozenset(
    (
        (WAITING, IN_PROGRESS),
        (IN_PROGRESS, SUCCEEDED),
        (IN_PROGRESS, FAILED),
        (IN_PROGRESS, WAITING),
        (SUCCEEDED, FAILED),
        (FAILED, WAITING),
    )
)

PAIRS_MAX = 100  # RFC 8445 6.1.2.5: an implementation must limit them, and 100 is its default

TYPE_PREFERENCE_HOST = 126  # RFC 8445 5.1.2.2
TYPE_PREFERENCE_PEER_REFLEXIVE = 110


def candidate_priority(type_preference: int, local_preference: int = 65535) -> int:
    """The priority of a candidate for component 1, the only one (RFC 8445 5.1.2.1)."""
    return (type_preference << 24) | (local_preference << 8) | (256 - 1)


def pair_priority(controlling: int, controlled: int) -> int:
    """RFC 8445 6.1.2.3 from the priorities of the controlling and of the controlled agent's candidate."""
    low, high = min(controlling, controlled), max(controlling, controlled)
    return (low << 32) + 2 * high + (1 if controlling > controlled else 0)


class CandidatePair:
    """One path that may work."""

    __slots__ = ("key", "local_priority", "nominate", "nominated", "remote_priority", "state")

    def __init__(self, key: bytes, local_priority: int, remote_priority: int) -> None:
        self.key = key
        self.local_priority = local_priority  # of our candidate; the PRIORITY of checks is its peer-reflexive sibling
        self.remote_priority = remote_priority
        self.state = WAITING
        self.nominate = False  # while controlled: the peer has nominated it, to be done once it has succeeded
        self.nominated = False

    def change(self, state: str) -> None:
        """The one place where a pair's state changes."""
        assert (self.state, state) in TRANSITIONS, (self.state, state)
        self.state = state

    def priority(self, controlling: bool) -> int:
        """Its priority under the role we have now."""
        if controlling:
            return pair_priority(self.local_priority, self.remote_priority)
        return pair_priority(self.remote_priority, self.local_priority)


class Checklist:
    """All pairs of a call, and those that the peer's checks brought to the front (RFC 8445 6.1.4.1)."""

    __slots__ = ("_pairs", "_triggered")

    def __init__(self) -> None:
        self._pairs: dict[bytes, CandidatePair] = {}
        self._triggered: list[CandidatePair] = []

    def __iter__(self) -> Iterator[CandidatePair]:
        return iter(self._pairs.values())

    def find(self, key: bytes) -> CandidatePair | None:
        """The pair with this flow key."""
        return self._pairs.get(key)

    def add(self, pair: CandidatePair) -> bool:
        """Take in a pair; returns False when the list is full or has it."""
        if len(self._pairs) >= PAIRS_MAX or pair.key in self._pairs:
            return False
        self._pairs[pair.key] = pair
        return True

    def trigger(self, pair: CandidatePair) -> None:
        """Check `pair`, which waits, before all others."""
        if pair not in self._triggered:
            self._triggered.append(pair)

    def next(self, controlling: bool) -> CandidatePair | None:
        """Take the pair that is to be checked next."""
        while self._triggered:
            pair = self._triggered.pop(0)
            if pair.state == WAITING:
                return pair
        return self.best(WAITING, controlling)

    def best(self, state: str, controlling: bool) -> CandidatePair | None:
        """The pair of highest priority in `state`."""
        pairs = [pair for pair in self if pair.state == state]
        return max(pairs, key=lambda pair: pair.priority(controlling), default=None)

    def any(self, *states: str) -> bool:
        """Whether a pair is in one of `states`."""
        return any(pair.state in states for pair in self)
