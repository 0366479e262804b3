"""The control thread's side of the lanes to the relay workers: what comes in, and which worker sends what.

Owned by the transceiver process. A Binding response leaves through the worker its request came in by, as one record
*publish-and-send*; to the other workers the flow goes as a plain publish (DESIGN 2.3). A worker whose ring is full
gets what it missed when there is room again, from the call's current state, so that one stuck worker blocks nobody.

Those other workers see no packet of the flow, as long as the kernel keeps a client at one socket: what they are told
waits for a record that does not, or for the owner's heartbeat. Waking each of them for each step of each call's set-up
would cost as much as the worker that serves the call.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

from shm.lane import CONTROL, CONTROL_OUT, HANDSHAKE_IN, WORKER, Lane
from shm.ring import Record, RingConsumer, RingProducer
from transceiverd.consent_lane import ConsentReader
from transceiverd.engine import Datagram

# shm/layout.h: enum ringline_record_type
STUN, DTLS = 1, 2
PUBLISH, WITHDRAW, PUBLISH_AND_SEND, SEND = 16, 17, 18, 19
# Withdrawals kept for a worker whose ring is full: four addresses of each of 16,384 calls. Beyond it a flow of a call
# that has ended stays until another call proves the address, or its transceiver starts anew.
WITHDRAWALS_MAX = 65_536
FLAG_CONTENDED = 2  # enum ringline_record_flags


class Owner:
    """Whose flow a record speaks of: the fields that every record out carries."""

    __slots__ = ("generation", "incarnation", "origin", "slot", "transceiver")

    def __init__(self, transceiver: int, slot: int, generation: int, origin: int, incarnation: int) -> None:
        self.transceiver = transceiver
        self.slot = slot
        self.generation = generation
        self.origin = origin
        self.incarnation = incarnation


class WorkerEnd:
    """Our ends of one lane."""

    def __init__(self, lane: Lane, worker: int) -> None:
        self.worker = worker
        self.lane = lane
        self.control_doorbell = lane.doorbell(CONTROL)
        self.worker_doorbell = lane.doorbell(WORKER)
        lane.restore_constants()
        # At most once: a packet is never handled again by a successor, which knows nothing of its call (DESIGN 2.6).
        self.incoming = RingConsumer(lane.segment, HANDSHAKE_IN, at_most_once=True)
        self.outgoing = RingProducer(lane.segment, CONTROL_OUT)
        self.reader = ConsentReader(self.incoming, self.outgoing, worker)
        self.behind: set[int] = set()  # slots whose flows did not fit and are published again
        self.withdrawals: deque[tuple[Owner, bytes]] = deque(maxlen=WITHDRAWALS_MAX)  # likewise; the oldest go first
        self.unpublished = False
        self.urgent = False  # something of it is waited for
        self.full = 0

    def forget_withdrawal(self, owner: Owner, key: bytes) -> None:
        """The flow is wanted again before the ring had room for its withdrawal."""
        kept = [(other, flow) for other, flow in self.withdrawals if flow != key or other.origin != owner.origin]
        self.withdrawals.clear()
        self.withdrawals.extend(kept)


class ControlLanes:
    """All lanes of this transceiver."""

    def __init__(self, on_behind: Callable[[int], Iterator[tuple[Owner, bytes, int]]]) -> None:
        """`on_behind(slot)` gives (owner, flow key, address state) of each flow that a slot has now."""
        self._ends: dict[int, WorkerEnd] = {}
        self._flows_of = on_behind
        self._calls: Mapping[int, object] = {}
        self.records = 0  # read so far
        self.answered = 0  # of those, consent checks that were answered on the spot

    def use(self, lane: Lane, worker: int) -> None:
        """Serve this lane from now on."""
        end = self._ends[worker] = WorkerEnd(lane, worker)
        end.worker_doorbell.ring()  # a predecessor may have died between publishing and ringing

    def drop(self, worker: int) -> None:
        """That worker is no more."""
        self._ends.pop(worker, None)

    @property
    def workers(self) -> list[int]:
        """Workers there is a lane to."""
        return list(self._ends)

    def answer_for(self, calls: Mapping[int, object]) -> None:
        """Consent checks of these calls, by slot, are answered on the spot (`consent_lane`)."""
        self._calls = calls

    def read(self, most: int, now: int) -> Iterator[Record]:
        """At most `most` records of each worker, oldest first, but for the consent checks that are already answered."""
        for end in self._ends.values():
            records = end.reader.read(most, now, self._calls)
            if end.reader.taken:
                self.records += end.reader.taken
                self.answered += end.reader.answered
                if end.reader.answered:
                    end.unpublished = end.urgent = True
                yield from records
                end.incoming.release()

    def pending(self) -> bool:
        """Is there anything to read?"""
        for end in self._ends.values():  # noqa: SIM110 - before every sleep, and a generator costs as much again
            if end.incoming.pending():
                return True
        return False

    def arm(self) -> None:
        """About to sleep: workers shall ring from now on. Look at `pending()` once more afterwards."""
        for end in self._ends.values():
            end.control_doorbell.arm()

    def disarm(self) -> None:
        """Awake: nobody needs to ring."""
        for end in self._ends.values():
            end.control_doorbell.disarm()

    # ------------------------------------------------------------------ out

    def send(self, owner: Owner, datagram: Datagram, worker: int, address_state: int) -> bool:
        """Send one datagram through a worker. False when its ring is full: the datagram is gone, as if on the way."""
        end = self._ends.get(worker) or next(iter(self._ends.values()), None)
        if end is None:
            return False
        kind = PUBLISH_AND_SEND if datagram.publish else SEND
        end.urgent = True
        return self._write(end, kind, owner, datagram.destination, datagram.data, address_state)

    def publish(
        self, owner: Owner, key: bytes, address_state: int, *, but: int = -1, serving: int | None = None,
        fresh: bool = False,
    ) -> None:  # fmt: skip
        """Tell every worker, except `but`, that this flow is this call's: `serving` at once, the others when that
        costs nothing; without it all of them at once.

        `fresh`: a packet from there authenticated just now, which decides a dispute.
        """
        flags = FLAG_CONTENDED if fresh else 0
        for end in self._ends.values():
            if end.withdrawals:  # one that waits must not come after what is published now
                end.forget_withdrawal(owner, key)
            if end.worker == but:
                continue
            end.urgent |= serving is None or end.worker == serving
            if not self._write(end, PUBLISH, owner, key, b"", address_state, flags):
                end.behind.add(owner.slot)

    def withdraw(self, owner: Owner, key: bytes) -> None:
        """Tell every worker that this flow is no longer this call's; where a ring is full, as soon as there is room."""
        for end in self._ends.values():
            end.urgent = True  # the address may be another's soon
            if end.withdrawals or not self._write(end, WITHDRAW, owner, key, b"", 0):
                end.withdrawals.append((owner, key))

    def mark_all_behind(self, slots: Iterable[int]) -> None:
        """After an attach: every worker needs every flow again."""
        everything = set(slots)
        for end in self._ends.values():
            end.behind |= everything

    def catch_up(self, most: int) -> bool:
        """Withdraw and publish again for at most `most` slots a worker. True when there is more to do."""
        more = False
        for end in self._ends.values():
            if not end.behind and not end.withdrawals:
                continue
            end.urgent = True
            while end.withdrawals and self._write(end, WITHDRAW, *end.withdrawals[0], b"", 0):
                end.withdrawals.popleft()
            for _ in range(min(most, len(end.behind))):
                slot = end.behind.pop()
                if not all(self._write(end, PUBLISH, *flow[:2], b"", flow[2]) for flow in self._flows_of(slot)):
                    end.behind.add(slot)
                    break
            more = more or bool(end.behind or end.withdrawals)
        return more

    def flush(self, *, all_of_it: bool = False) -> None:
        """Make what was written visible and wake the workers that sleep: once a turn, not once a record. A ring that
        holds nothing urgent waits for more, or until `all_of_it` is asked for: nobody else would ever ring for it."""
        for end in self._ends.values():
            if end.unpublished and (end.urgent or all_of_it):
                end.unpublished = end.urgent = False
                end.outgoing.publish()
                end.worker_doorbell.ring()

    def full(self) -> int:
        """Records that found a ring full."""
        return sum(end.full for end in self._ends.values())

    @staticmethod
    def _write(
        end: WorkerEnd, kind: int, owner: Owner, key: bytes, payload: bytes, address_state: int, flags: int = 0
    ) -> bool:
        written = end.outgoing.write(
            kind,
            key,
            payload,
            slot=owner.slot,
            generation=owner.generation,
            origin=owner.origin,
            incarnation=owner.incarnation,
            worker=end.worker,
            flags=flags,
            address_state=address_state,
        )
        if written:
            end.unpublished = True
        else:
            end.full += 1
        return written
