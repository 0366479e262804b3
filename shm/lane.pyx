# cython: language_level=3
"""A lane: the four rings and three doorbells between one relay worker and one transceiver (DESIGN 1, 2).

Made by transceiverd's supervisor, which hands it to relayd and to the transceiver; attached by whoever gets its four
descriptors. One lane is one segment; ring data follow the header, each from a page of its own.

What never changes after the creation (where the rings are, whose the lane is) is read once, when a Lane is made or
attached, and checked. A process that is born with the Lane opens its ends by that: whatever a peer has written there
since, a successor starts.

Leaves out: who holds which end. That there is never a second producer is the supervisors' promise (DESIGN 2.8).
"""
import os

from shm.doorbell import CONTROL, MEDIA, WORKER, Doorbell
from shm.errors import LayoutRefused

from libc.stdint cimport uint64_t
from posix.unistd cimport close as close_descriptor

from shm.atomics cimport load_relaxed_u64, store_relaxed_u64
from shm.doorbell cimport doorbell
from shm.layout cimport (
    RINGLINE_RING_CONTROL_OUT,
    RINGLINE_RING_HANDSHAKE_IN,
    RINGLINE_RING_MEDIA_IN,
    RINGLINE_RING_MEDIA_OUT,
    RINGLINE_RINGS,
    RINGLINE_SEGMENT_LANE,
    lane_header,
    ring_header,
)
from shm.ring cimport (
    RING_CAPACITY_MAX,
    RING_CAPACITY_MIN,
    ring,
    ring_format,
    ring_open,
    ring_open_consumer,
    ring_open_producer,
    ring_waiting,
)
from shm.segment cimport Segment

HANDSHAKE_IN = RINGLINE_RING_HANDSHAKE_IN
MEDIA_IN = RINGLINE_RING_MEDIA_IN
CONTROL_OUT = RINGLINE_RING_CONTROL_OUT
MEDIA_OUT = RINGLINE_RING_MEDIA_OUT
RINGS = RINGLINE_RINGS
RING_NAMES = ("handshake_in", "media_in", "control_out", "media_out")

PAGE = 4096  # bytes; ring data start on pages, so that no ring shares one with another or with the header


cdef class Lane:
    """One end's view of a lane; both ends are equal until somebody opens a ring as producer or consumer."""

    def __cinit__(self):
        self.control_fd = self.media_fd = self.worker_fd = -1

    @staticmethod
    def create(
        transceiver, worker, *, handshake_in, media_in, control_out, media_out, incarnation=0,
        control_fd=None, media_fd=None, major=None,
    ):
        """Make a lane; ring sizes in bytes, powers of two. `major`: the layout that both daemons agreed on.

        `control_fd`, `media_fd`: eventfds that all lanes of a transceiver share; duplicated. None makes new ones.
        """
        capacities = (handshake_in, media_in, control_out, media_out)
        _check_capacities(capacities)
        size = PAGE + sum(_whole_pages(capacity) for capacity in capacities)
        cdef Lane self = Lane.__new__(Lane)
        self.segment = Segment.create(
            RINGLINE_SEGMENT_LANE, size, index=transceiver, peer_index=worker, incarnation=incarnation,
            name=f"lane-{transceiver}-{worker}", major=major,
        )
        self.header = <lane_header *>self.segment.base
        self._format(capacities)
        self._note_constants()
        self.control_fd = _eventfd(control_fd)
        self.media_fd = _eventfd(media_fd)
        self.worker_fd = _eventfd(None)
        return self

    @staticmethod
    def attach(fds):
        """Take over the four descriptors of `fds` as another process sent them.

        LayoutRefused: they are not a lane's, and the caller still owns them all.
        """
        if len(fds) != 4:
            raise LayoutRefused("descriptors of a lane", len(fds), 4)
        for fd in fds[1:]:
            _check_eventfd(fd)
        cdef Lane self = Lane.__new__(Lane)
        self.segment = _attach_segment(fds[0])
        self.header = <lane_header *>self.segment.base
        try:
            self._note_constants()
        except BaseException:
            self.segment.fd = -1  # stays the caller's
            raise
        self.control_fd, self.media_fd, self.worker_fd = fds[1:]
        return self

    def _format(self, capacities):
        cdef uint64_t offset = PAGE
        for which, capacity in enumerate(capacities):
            ring_format(&self.header.rings[<int>which], offset, capacity)
            offset += _whole_pages(capacity)

    def _note_constants(self):
        """Once, before anybody else can write here or has had much time to. Rings lie behind the header."""
        cdef ring probe
        cdef int which
        self.transceiver, self.worker = self.segment.index, self.segment.peer_index
        self.major = self.segment.major
        for which, name in enumerate(RING_NAMES):
            if ring_open(&probe, self.segment.base, self.segment.size, &self.header.rings[which]) < 0:
                raise LayoutRefused(f"capacity or place of {name}", "one that makes no sense", "powers of two within")
            self.capacities[which] = probe.capacity
            self.places[which] = probe.data - self.segment.base
            if self.places[which] < sizeof(lane_header):
                raise LayoutRefused(f"place of {name}", self.places[which], f"at least {sizeof(lane_header)}")

    def restore_constants(self):
        """Write what never changes once more: before an end is opened, and before another code of this process, which
        knows nothing but the descriptors, attaches."""
        cdef int which
        self._check_ring(0)
        self.segment.restore_header(self.transceiver, self.worker, self.major)
        for which in range(RINGLINE_RINGS):
            store_relaxed_u64(&self.header.rings[which].capacity, self.capacities[which])
            store_relaxed_u64(&self.header.rings[which].data_offset, self.places[which])

    cdef int open_producer(self, int which, ring *handle) except -1:
        self._check_ring(which)
        self.restore_constants()
        if ring_open_producer(handle, self.segment.base, self.segment.size, &self.header.rings[which]) < 0:
            raise ValueError(f"{RING_NAMES[which]}: capacity or place makes no sense")
        return 0

    cdef int open_consumer(self, int which, ring *handle, bint at_most_once) except -1:
        self._check_ring(which)
        self.restore_constants()
        cdef ring_header *header = &self.header.rings[which]
        if ring_open_consumer(handle, self.segment.base, self.segment.size, header, at_most_once) < 0:
            raise ValueError(f"{RING_NAMES[which]}: capacity or place makes no sense")
        return 0

    cdef int open_doorbell(self, int which, doorbell *handle) except -1:
        if self.segment.fd < 0 or not 0 <= which <= WORKER:
            raise ValueError(f"an open lane has the doorbells 0 to {WORKER}, not {which}")
        handle.word = &(&self.header.control)[which]
        handle.fd = (self.control_fd, self.media_fd, self.worker_fd)[which]
        return 0

    def _check_ring(self, int which):
        if self.segment.fd < 0 or not 0 <= which < RINGLINE_RINGS:
            raise ValueError(f"an open lane has the rings 0 to {RINGLINE_RINGS - 1}, not {which}")

    @property
    def incarnation(self):
        """Of the transceiver that uses the lane now; 0: none."""
        return self.segment.incarnation

    @incarnation.setter
    def incarnation(self, value):
        self.segment.incarnation = value

    @property
    def fds(self):
        """Segment, control doorbell, media doorbell, worker doorbell: what `attach` takes."""
        return (self.segment.fd, self.control_fd, self.media_fd, self.worker_fd)

    def doorbell(self, int which):
        """The doorbell of CONTROL, MEDIA or WORKER as a Python object."""
        return Doorbell(self.segment, which, self.fds[1 + which])

    def waiting(self, int which):
        """Bytes published to a ring and not yet released, as seen from outside."""
        self._check_ring(which)
        return ring_waiting(&self.header.rings[which])

    def status(self):
        """Per ring name the header's words, for `relayctl status`; every value a recent one, not one snapshot."""
        self._check_ring(0)
        return {name: ring_words(&self.header.rings[<int>which]) for which, name in enumerate(RING_NAMES)}

    def close(self):
        """Close this end's descriptors and mapping. Native handles must be out of use; a second call does nothing."""
        fds = (self.control_fd, self.media_fd, self.worker_fd)
        self.control_fd = self.media_fd = self.worker_fd = -1
        self.header = NULL
        if self.segment is not None:
            self.segment.close()
        for fd in fds:
            if fd >= 0:
                close_descriptor(fd)

    def __dealloc__(self):
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


cdef dict ring_words(const ring_header *header):
    """A ring's words by name; statistics, so relaxed loads."""
    return {
        "capacity": load_relaxed_u64(&header.capacity),
        "waiting": ring_waiting(header),
        "tail": load_relaxed_u64(&header.tail),
        "head": load_relaxed_u64(&header.head),
        "full": load_relaxed_u64(&header.full),
        "records_in": load_relaxed_u64(&header.records_in),
        "records_out": load_relaxed_u64(&header.records_out),
        "taken": load_relaxed_u64(&header.taken),
        "handling": load_relaxed_u64(&header.handling),
        "attempts": load_relaxed_u64(&header.attempts),
        "malformed": load_relaxed_u64(&header.malformed),
        "lost": load_relaxed_u64(&header.lost),
    }


def _check_capacities(capacities):
    for name, capacity in zip(RING_NAMES, capacities, strict=True):
        if not RING_CAPACITY_MIN <= capacity <= RING_CAPACITY_MAX or capacity & (capacity - 1):
            raise ValueError(
                f"{name}: {capacity} bytes; allowed are powers of two from {RING_CAPACITY_MIN} to {RING_CAPACITY_MAX}"
            )


def _whole_pages(size):
    return -(-size // PAGE) * PAGE


def _eventfd(shared):
    """A new eventfd, or a duplicate of one that other lanes have too."""
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) if shared is None else os.dup(shared)


def _check_eventfd(fd):
    """A doorbell must never block: only an eventfd that does not is one."""
    if os.readlink(f"/proc/self/fd/{fd}") != "anon_inode:[eventfd]" or os.get_blocking(fd):
        raise LayoutRefused("doorbell", "another kind of descriptor", "non-blocking eventfds")


def _attach_segment(fd):
    """The segment behind `fd`, if it holds a lane's header; else the caller keeps `fd`."""
    if os.fstat(fd).st_size < sizeof(lane_header):
        raise LayoutRefused("lane size in bytes", os.fstat(fd).st_size, f"at least {sizeof(lane_header)}")
    return Segment.attach(fd, RINGLINE_SEGMENT_LANE)
