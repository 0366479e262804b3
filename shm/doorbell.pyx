# cython: language_level=3
"""A doorbell for Python: the control threads' end of what `doorbell.pxd` describes.

Called by the transceiver's control thread (its eventfd sits in the event loop) and by tests.
"""
from shm.atomics cimport load_relaxed_u32
from shm.doorbell cimport doorbell, doorbell_arm, doorbell_clear, doorbell_disarm, doorbell_ring
from shm.layout cimport RINGLINE_SEGMENT_LANE, lane_header
from shm.segment cimport Segment

CONTROL, MEDIA, WORKER = range(3)


cdef class Doorbell:
    """The doorbell `which` (CONTROL, MEDIA, WORKER: who sleeps on it) of a lane. `fd` stays the caller's to close."""

    cdef doorbell _native
    cdef Segment _segment

    def __init__(self, Segment segment not None, int which, int fd):
        if segment.kind != RINGLINE_SEGMENT_LANE or not 0 <= which <= WORKER:
            raise ValueError(f"a lane has the doorbells 0 to {WORKER}, not {which}")
        segment.hold()
        self._segment = segment
        self._native.word = &(&(<lane_header *>segment.base).control)[which]
        self._native.fd = fd

    def __dealloc__(self):
        if self._segment is not None:
            self._segment.let_go()

    @property
    def fd(self):
        """The eventfd."""
        return self._native.fd

    @property
    def armed(self):
        """The consumer sleeps or is about to."""
        return bool(load_relaxed_u32(&self._native.word.armed))

    def ring(self):
        """After publishing: wake the consumer if it sleeps; True if it did."""
        return bool(doorbell_ring(&self._native))

    def arm(self):
        """About to sleep; look at all rings once more before doing so."""
        doorbell_arm(&self._native)

    def disarm(self):
        """Awake again."""
        doorbell_disarm(&self._native)

    def clear(self):
        """Take the rings out of the eventfd; before `arm`, never after it."""
        doorbell_clear(&self._native)
