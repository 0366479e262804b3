"""What the supervisor holds for one transceiver, and every process that is that transceiver gets (DESIGN 2.7).

The session segment is given to its transceiver only; lanes and counters also go to relayd. All of it outlives any
transceiver process. A new process means a new incarnation, which is written into every lane before it starts, so that
the workers see at once that flows of the old one are dead.
"""

import logging
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from shm.counters import Counters
from shm.daemon.post import LeftProcess
from shm.lane import Lane
from shm.layout import SESSION_STRIDE, SESSIONS_OFFSET
from shm.segment import Segment
from shm.session import SessionSegment
from transceiverd.config import TransceiverSection
from transceiverd.legacy import LeftPlace
from transceiverd.media.outcomes import COUNTER_NAMES as MEDIA_COUNTERS
from transceiverd.outcomes import CONTROL_COUNTERS

log = logging.getLogger("supervisor")


def session_segment_bytes(slots: int) -> int:
    """Memory of a session segment."""
    return SESSIONS_OFFSET + slots * SESSION_STRIDE


@dataclass(eq=False)
class Holding:
    """Transceiver `index`'s."""

    index: int
    sessions: SessionSegment
    control_counters: Counters
    media_counters: Counters
    control_fd: int
    media_fd: int
    incarnation: int = 0
    lanes: dict[int, Lane] = field(default_factory=dict)
    """By relay worker."""

    @classmethod
    def make(cls, index: int, config: TransceiverSection) -> "Holding":
        """Allocate it. OSError when there is not enough memory."""
        return cls(
            index,
            SessionSegment.create(config.slots, index),
            Counters.create(CONTROL_COUNTERS, index=index),
            Counters.create(MEDIA_COUNTERS, index=index),
            os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC),
            os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC),
        )

    @classmethod
    def adopt(cls, left: LeftPlace) -> "Holding":
        """What our old code held. LayoutRefused when it is of a layout that we do not speak."""
        return cls(
            left.index,
            SessionSegment.attach(left.sessions, writer=False),
            Counters.attach(left.control_counters),
            Counters.attach(left.media_counters),
            left.control_fd,
            left.media_fd,
            left.incarnation,
            {worker: Lane.attach(fds) for worker, fds in left.lanes.items()},
        )

    def left(self, deadline_ns: int, process: LeftProcess | None) -> LeftPlace:
        """For our own new code, which has nothing but the descriptors."""
        for lane in self.lanes.values():
            lane.restore_constants()
        return LeftPlace(
            index=self.index,
            sessions=self.sessions.segment.fd,
            control_counters=self.control_counters.fd,
            media_counters=self.media_counters.fd,
            control_fd=self.control_fd,
            media_fd=self.media_fd,
            incarnation=self.incarnation,
            lanes={worker: list(lane.fds) for worker, lane in self.lanes.items()},
            deadline_ns=deadline_ns,
            process=process,
        )

    def mend(self) -> None:
        """Put right what names the segments that the transceiver maps for writing: nobody could attach to them again,
        neither a relayd that starts nor a new signalling process, where a broken one wrote over that."""
        index = self.index
        mended = [self.sessions.mend(index), self.control_counters.mend(index), self.media_counters.mend(index)]
        mended += [lane.segment.mend(index, worker) for worker, lane in self.lanes.items()]
        if any(mended):
            log.error("transceiver %d wrote over what its segments say they are: put right", index)

    def renew(self) -> None:
        """Before a process starts: a new incarnation everywhere."""
        self.mend()
        self.incarnation = secrets.randbits(63) or 1
        self.sessions.segment.incarnation = self.incarnation
        for lane in self.lanes.values():
            lane.incarnation = self.incarnation

    def add_lanes(self, workers: int, config: TransceiverSection, layout: int) -> list[int]:
        """Make the lanes that are missing for so many relay workers, or were made in another layout; gives the workers
        they are for. LayoutRefused for a layout that this release does not speak."""
        others = [worker for worker, lane in self.lanes.items() if lane.segment.major != layout]
        for worker in others:
            self.lanes.pop(worker).close()
        missing = [worker for worker in range(workers) if worker not in self.lanes]
        made: dict[int, Lane] = {}
        try:
            for worker in missing:
                made[worker] = self._make_lane(worker, config, layout)
        except BaseException:  # all or none: one that nobody was told of would not be missing the next time
            for lane in made.values():
                lane.close()
            raise
        self.lanes.update(made)
        return missing

    def _make_lane(self, worker: int, config: TransceiverSection, layout: int) -> Lane:
        return Lane.create(
            self.index,
            worker,
            handshake_in=config.handshake_ring_bytes,
            media_in=config.media_ring_bytes,
            control_out=config.control_ring_bytes,
            media_out=config.media_ring_bytes,
            incarnation=self.incarnation,
            control_fd=self.control_fd,
            media_fd=self.media_fd,
            major=layout,
        )

    def drop_lanes(self, workers: int) -> list[int]:
        """Give up the lanes beyond so many relay workers; gives the workers they were for."""
        beyond = [worker for worker in self.lanes if worker >= workers]
        for worker in beyond:
            self.lanes.pop(worker).close()
        return beyond

    def lanes_of(self) -> Iterator[tuple[Lane, int]]:
        """Lanes with their workers."""
        return ((lane, worker) for worker, lane in self.lanes.items())

    def segments(self) -> list[Segment]:
        """All of them."""
        own = [self.sessions.segment, self.control_counters.segment, self.media_counters.segment]
        return own + [lane.segment for lane in self.lanes.values()]

    def descriptors(self) -> list[int]:
        """Every descriptor that the transceiver must keep."""
        own = [
            self.sessions.segment.fd,
            self.control_counters.fd,
            self.media_counters.fd,
            self.control_fd,
            self.media_fd,
        ]
        return own + [fd for lane in self.lanes.values() for fd in lane.fds]

    def close(self) -> None:
        """Give all of it up, in this process."""
        for lane in self.lanes.values():
            lane.close()
        self.lanes.clear()
        self.sessions.segment.close()
        self.control_counters.segment.close()
        self.media_counters.segment.close()
        os.close(self.control_fd)
        os.close(self.media_fd)
