"""What the supervisor holds for one worker, and every process that is that worker gets (DESIGN 2.7).

Made at start by supervisor.py, its lanes changed by attachments.py, inherited through fork by child.py. Sockets, flow
table, counters and lanes outlive any worker process; that is why its death loses the batch in hand and nothing else.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from relayd.sockets import WorkerSockets
from relayd.steering import Reading
from shm import layout
from shm.counters import Counters
from shm.flows import FlowTable
from shm.lane import CONTROL_OUT, MEDIA_OUT, Lane
from shm.segment import Segment

log = logging.getLogger("supervisor")


def flow_table_capacity(entries: int) -> int:
    """How many a table has that is asked for so many, which is a power of two, at least one bucket."""
    return max(layout.FLOW_BUCKET, 1 << (entries - 1).bit_length())


def flow_table_bytes(entries: int) -> int:
    """Memory of such a table."""
    return layout.FLOW_ENTRIES_OFFSET + flow_table_capacity(entries) * layout.size("flow_entry")


@dataclass(eq=False)
class Holding:
    """Worker `index`'s."""

    index: int
    cpu: int | None
    sockets: WorkerSockets
    flows: FlowTable
    counters: Counters
    lanes: dict[int, Lane] = field(default_factory=dict)
    """By transceiver."""

    @classmethod
    def make(
        cls,
        index: int,
        cpu: int | None,
        sockets: WorkerSockets,
        *,
        counter_names: Sequence[str],
        flow_entries: int,
        flows: FlowTable | None = None,
        counters: Counters | None = None,
    ) -> "Holding":
        """Allocate the worker's tables but for those that are there already (kept.py). OSError: not enough memory."""
        return cls(
            index,
            cpu,
            sockets,
            flows or FlowTable.create(flow_entries, index=index),
            counters or Counters.create(counter_names, index=index),
        )

    def fit_counters(self, names: Sequence[str]) -> None:
        """Before a process starts: its release may count other things than the one that made the segment. What both
        know goes on from where it stands."""
        if self.counters.names == tuple(names):
            return
        known = self.counters.read()
        counters = Counters.create(names, index=self.index)
        for name in set(names) & set(known):
            counters.set(name, known[name])
        counters.batch_in_hand = self.counters.batch_in_hand
        self.counters.segment.close()
        self.counters = counters

    def mend(self) -> None:
        """Put right what names the segments that the worker maps for writing: nobody else could use them, nor its
        successor, where a broken one wrote over that."""
        mended = [self._mend_flows(), self.counters.mend(self.index)]
        if any(mended):
            log.error("worker %d wrote over what its tables or counters say they are: put right", self.index)

    def _mend_flows(self) -> bool:
        mended = self.flows.segment.mend(self.index)
        buckets = (self.flows.capacity // layout.FLOW_BUCKET).to_bytes(8, "little")
        at = layout.offset("flow_table_header", "buckets")
        with memoryview(self.flows.segment) as memory, memory[at : at + 8] as word:
            if word != buckets:
                word[:] = buckets
                mended = True
        return mended

    def segments(self) -> list[Segment]:
        """All of them."""
        return [self.flows.segment, self.counters.segment, *(lane.segment for lane in self.lanes.values())]

    def fds(self) -> list[int]:
        """Every descriptor that the worker must keep."""
        own = [fd for fd in self.sockets.fds if fd >= 0]
        own += [self.flows.segment.fd, self.counters.segment.fd]
        return own + [fd for lane in self.lanes.values() for fd in lane.fds]

    def heartbeat(self) -> int:
        """Turns of the worker's loop, over all its processes."""
        return self.counters.segment.heartbeat

    def reading(self) -> Reading:
        """For steering.py. The process of an older release does not count its sleep: always busy."""
        try:
            return Reading(self.heartbeat(), self.counters["asleep_ns"])
        except KeyError:
            return Reading(self.heartbeat(), 0)

    def records_wait(self) -> bool:
        """Whether a transceiver has put something into a ring that the worker reads."""
        return any(lane.waiting(ring) > 0 for lane in self.lanes.values() for ring in (CONTROL_OUT, MEDIA_OUT))

    def close(self) -> None:
        """Give all of it up, in this process."""
        self.sockets.close()
        for lane in self.lanes.values():
            lane.close()
        self.lanes.clear()
        self.flows.segment.close()
        self.counters.segment.close()
