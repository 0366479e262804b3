"""What the attached transceiverd has offered: lanes, counters, and what it said of its transceivers.

Changed by connection.py, which speaks with transceiverd; read by status_report.py. Lanes go into the holdings, so that
a worker that starts later is born with them, and to the running worker by a message; both happen in one turn of the
supervisor's loop, so no worker can fall in between.

All of it goes when the connection ends (DESIGN 2.7: transceiverd sends the same again at every attach).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from relayd.child_messages import AttachLane, DetachLane
from relayd.children import Children
from relayd.holding import Holding
from shm.counters import Counters
from shm.lane import Lane

# Eight bits of an origin (DESIGN 3).
TRANSCEIVERS_MAX = 256
# Counter segments: a few threads for each transceiver.
COUNTERS_MAX = 1024


class OfferRefused(ValueError):
    """An offer that makes no sense here; `found` and `allowed` say why."""

    def __init__(self, reason: str, found: object, allowed: object) -> None:
        super().__init__(f"{reason}: found {found}, allowed {allowed}")
        self.reason = reason
        self.found = str(found)
        self.allowed = str(allowed)


@dataclass
class OfferedCounters:
    """One thread's counters."""

    owner: str
    transceiver: int
    counters: Counters


@dataclass
class Attachments:
    """At most one transceiverd's offers."""

    holdings: Sequence[Holding]
    children: Children
    counters: dict[str, OfferedCounters] = field(default_factory=dict)
    incarnations: dict[int, int] = field(default_factory=dict)
    ready_transceivers: int = 0

    def attach_lane(self, transceiver: int, worker: int, fds: list[int]) -> None:
        """Map the lane, keep it for every process of that worker, and give it to the running one.

        A second lane between the two replaces the first. Takes the descriptors it keeps out of `fds`; what is left
        there is the caller's to close. Raises OfferRefused, LayoutRefused, OSError.
        """
        check_transceiver(transceiver)
        if not 0 <= worker < len(self.holdings):
            raise OfferRefused("worker of a lane", worker, f"0 to {len(self.holdings) - 1}")
        lane = Lane.attach(fds)
        fds.clear()
        if (lane.transceiver, lane.worker) != (transceiver, worker):
            found = f"transceiver {lane.transceiver}, worker {lane.worker}"
            lane.close()
            raise OfferRefused("what the lane's header says", found, f"transceiver {transceiver}, worker {worker}")
        replaced = self.holdings[worker].lanes.pop(transceiver, None)
        self.holdings[worker].lanes[transceiver] = lane
        self.children.posts[worker].send(AttachLane(transceiver), lane.fds)
        if replaced is not None:
            replaced.close()

    def attach_counters(self, owner: str, transceiver: int, fds: list[int]) -> None:
        """Map a thread's counters for status; `fds` and errors as with `attach_lane`."""
        check_transceiver(transceiver)
        if owner not in self.counters and len(self.counters) >= COUNTERS_MAX:
            raise OfferRefused("counters", f"one more than {COUNTERS_MAX}", f"at most {COUNTERS_MAX}")
        if len(fds) != 1:
            raise OfferRefused("descriptors of counters", len(fds), 1)
        try:
            counters = Counters.attach(fds[0])
        except ValueError as error:
            fds.clear()  # closed with the segment that did not fit
            raise OfferRefused("counters", error, "a header that fits its segment") from None
        fds.clear()
        replaced = self.counters.pop(owner, None)
        self.counters[owner] = OfferedCounters(owner, transceiver, counters)
        if replaced is not None:
            replaced.counters.segment.close()

    def withdraw(self, transceiver: int) -> None:
        """Forget one transceiver: its lanes at every worker, its counters."""
        for holding, post in zip(self.holdings, self.children.posts, strict=True):
            lane = holding.lanes.pop(transceiver, None)
            if lane is not None:
                post.send(DetachLane(transceiver))
                lane.close()
        for owner in [owner for owner, offered in self.counters.items() if offered.transceiver == transceiver]:
            self.counters.pop(owner).counters.segment.close()
        self.incarnations.pop(transceiver, None)

    def note_incarnation(self, transceiver: int, incarnation: int) -> None:
        """A transceiver was started anew; its lanes say so themselves, this is for status."""
        check_transceiver(transceiver)
        self.incarnations[transceiver] = incarnation

    def clear(self) -> None:
        """Forget everything: the connection is gone."""
        offered = {transceiver for holding in self.holdings for transceiver in holding.lanes}
        for transceiver in offered | {counters.transceiver for counters in self.counters.values()}:
            self.withdraw(transceiver)
        self.incarnations.clear()
        self.ready_transceivers = 0


def check_transceiver(transceiver: int) -> None:
    """Raise OfferRefused unless the number can stand in a ufrag."""
    if not 0 <= transceiver < TRANSCEIVERS_MAX:
        raise OfferRefused("transceiver", transceiver, f"0 to {TRANSCEIVERS_MAX - 1}")
