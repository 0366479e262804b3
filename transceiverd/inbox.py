"""Records out of the handshake rings, until the control thread's turn comes to them: three queues with budgets.

Owned by the transceiver, which puts in what it reads and takes out a turn's work. Checks, datagrams of handshakes and
datagrams of established associations wait apart, so that a flood of one keeps no other waiting (DESIGN 2.10); and
those of handshakes, each perhaps a signature or a key exchange of OpenSSL's, are taken in few a turn, so that no turn
is long. What one call may have waiting is bounded too: its flood is its own loss.
"""

from collections import deque
from collections.abc import Callable, Iterator

from shm.ring import Record
from transceiverd.lanes import STUN

CHECKS_PER_TURN = 128  # about 50 us of Python each
RECORDS_PER_TURN = 64  # of established associations: data channels
QUEUE_MAX = 4096  # records of a kind that wait; the ring behind holds more, and drops are counted there


class DtlsQueue:
    """Datagrams of many calls, oldest first."""

    __slots__ = ("_of_call", "_per_call", "records")

    def __init__(self, per_call: int) -> None:
        self._per_call = per_call
        self.records: deque[Record] = deque()
        self._of_call: dict[int, int] = {}  # by slot, of those that have any

    def put(self, record: Record) -> bool:
        """False when there is no room for it."""
        waiting = self._of_call.get(record.slot, 0)
        if len(self.records) >= QUEUE_MAX or waiting >= self._per_call:
            return False
        self._of_call[record.slot] = waiting + 1
        self.records.append(record)
        return True

    def take(self) -> Record:
        """The oldest."""
        record = self.records.popleft()
        left = self._of_call.pop(record.slot) - 1
        if left:
            self._of_call[record.slot] = left
        return record


class Inbox:
    """What waits for the control thread."""

    def __init__(
        self, established: Callable[[int], bool], handshakes_per_turn: int, handshakes_per_call: int, per_call: int
    ) -> None:
        """`established(slot)`: whether the DTLS of this slot's call is done, and no work for OpenSSL."""
        self._established = established
        self._handshakes_per_turn = handshakes_per_turn
        self._checks: deque[Record] = deque()
        self._handshakes = DtlsQueue(handshakes_per_call)
        self._records = DtlsQueue(per_call)
        self.handshakes_put_off = 0
        """Turns that left handshakes to the next one."""

    def __len__(self) -> int:
        return len(self._checks) + len(self._handshakes.records) + len(self._records.records)

    @property
    def full(self) -> bool:
        """Read no more now: the rings hold it, and count what does not fit there."""
        return len(self._checks) >= QUEUE_MAX

    def put(self, record: Record) -> bool:
        """False when its call, or all together, have too much waiting: it is dropped."""
        if record.type == STUN:
            self._checks.append(record)
            return True
        return (self._records if self._established(record.slot) else self._handshakes).put(record)

    def turn(self) -> Iterator[Record]:
        """One turn's work."""
        for _ in range(min(CHECKS_PER_TURN, len(self._checks))):
            yield self._checks.popleft()
        for _ in range(min(self._handshakes_per_turn, len(self._handshakes.records))):
            yield self._handshakes.take()
        self.handshakes_put_off += len(self._handshakes.records) > 0
        for _ in range(min(RECORDS_PER_TURN, len(self._records.records))):
            yield self._records.take()
