"""STUN client transactions: one request each, its retransmissions, and when it has failed (RFC 8489 6.2.1).

Owned by the controlling agent. The same bytes are sent each time; the interval doubles up to a limit; after the last
transmission it waits `final_wait` times the first interval for an answer.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from transceiverd.ice.pairs import CandidatePair

Purpose = Literal["check", "nomination", "consent"]


class Schedule(NamedTuple):
    """When a request is sent again: intervals in ns from `first`, doubling up to `longest`; RFC 8489's Rc and Rm."""

    first: int
    longest: int
    transmissions: int
    final_wait: int


class Transaction:
    """A request on its way over a pair."""

    __slots__ = ("_interval", "_left", "_schedule", "controlling", "data", "deadline", "id", "pair", "purpose")

    def __init__(
        self,
        identity: bytes,
        data: bytes,
        pair: CandidatePair,
        purpose: Purpose,
        controlling: bool,
        schedule: Schedule,
        now: int,
    ) -> None:
        self.id = identity
        self.data = data
        self.pair = pair
        self.purpose = purpose
        self.controlling = controlling  # our role when it was sent: a conflict is judged by that one
        self._schedule = schedule
        self._interval = schedule.first
        self._left = schedule.transmissions - 1  # the first one is sent at once
        self.deadline = now + self._wait()

    def advance(self, now: int) -> bool:
        """The deadline has come: returns True when `data` is to be sent again, False when it has failed."""
        if self._left == 0:
            return False
        self._left -= 1
        self._interval = min(self._interval * 2, self._schedule.longest)
        self.deadline = now + self._wait()
        return True

    def _wait(self) -> int:
        return self._interval if self._left else self._schedule.first * self._schedule.final_wait


class Transactions:
    """All that wait for an answer, by transaction id."""

    __slots__ = ("_by_id",)

    def __init__(self) -> None:
        self._by_id: dict[bytes, Transaction] = {}

    def __iter__(self) -> Iterator[Transaction]:
        return iter(list(self._by_id.values()))

    def add(self, transaction: Transaction) -> None:
        """Begin to wait."""
        self._by_id[transaction.id] = transaction

    def find(self, identity: bytes) -> Transaction | None:
        """The transaction that an answer belongs to."""
        return self._by_id.get(identity)

    def remove(self, transaction: Transaction) -> None:
        """Stop waiting."""
        self._by_id.pop(transaction.id, None)

    def cancel(self, matches: Callable[[Transaction], bool]) -> None:
        """Stop waiting for all that match."""
        for transaction in self:
            if matches(transaction):
                self.remove(transaction)

    def deadline(self) -> int | None:
        """When the next one is to be sent again or given up, ns."""
        return min((transaction.deadline for transaction in self._by_id.values()), default=None)
