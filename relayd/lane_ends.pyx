# cython: language_level=3, boundscheck=False, wraparound=False
"""The worker's ends of its lanes: one producer end of two rings, one consumer end of two others, for every transceiver.

Used by the worker's loop (the functions on `lane_set`, without the GIL) and between two runs of it (the class: attach
and detach). Order inside a batch: claim and commit, publish_touched, book the outcomes, ring_touched. Order around
sleeping (FACTS 3, the argument in shm/atomics.h): arm_all, any_waiting, sleep if nothing, disarm_all.

A lane whose incarnation word is 0 has no living transceiver: nothing is put into its rings.
Left out: what the records say (relayd/inbound.pyx, relayd/outbound.pyx).
"""
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from shm.atomics cimport load_acquire_u64
from shm.doorbell cimport doorbell_arm, doorbell_disarm, doorbell_ring, doorbell_set_home
from shm.lane cimport Lane
from shm.layout cimport (
    RINGLINE_RING_CONTROL_OUT,
    RINGLINE_RING_HANDSHAKE_IN,
    RINGLINE_RING_MEDIA_IN,
    RINGLINE_RING_MEDIA_OUT,
)
from shm.ring cimport ring_pending, ring_publish

import os

from shm.doorbell import CONTROL, MEDIA, WORKER


cdef void refresh_incarnations(lane_set *lanes) noexcept nogil:
    cdef unsigned int i
    for i in range(lanes.count):
        # PARTNER: the release store in Segment.incarnation. What the transceiver was before it does not matter to us.
        lanes.incarnations[lanes.active[i].transceiver] = load_acquire_u64(lanes.active[i].incarnation_word)


cdef void publish_touched(lane_set *lanes) noexcept nogil:
    cdef unsigned int i
    cdef lane_end *lane
    for i in range(lanes.count):
        lane = lanes.active[i]
        if lane.handshake_touched:
            ring_publish(&lane.handshake_in)
        if lane.media_touched:
            ring_publish(&lane.media_in)


cdef unsigned int ring_touched(lane_set *lanes) noexcept nogil:
    cdef unsigned int i, woken = 0
    cdef lane_end *lane
    for i in range(lanes.count):
        lane = lanes.active[i]
        if lane.handshake_touched:
            woken += doorbell_ring(&lane.control)
            lane.handshake_touched = False
        if lane.media_touched:
            woken += doorbell_ring(&lane.media)
            lane.media_touched = False
    return woken


cdef void arm_all(lane_set *lanes) noexcept nogil:
    cdef unsigned int i
    for i in range(lanes.count):
        doorbell_arm(&lanes.active[i].worker)


cdef void disarm_all(lane_set *lanes) noexcept nogil:
    cdef unsigned int i
    for i in range(lanes.count):
        doorbell_disarm(&lanes.active[i].worker)


cdef bint any_waiting(lane_set *lanes) noexcept nogil:
    cdef unsigned int i
    for i in range(lanes.count):
        if ring_pending(&lanes.active[i].control_out) or ring_pending(&lanes.active[i].media_out):
            return True
    return False


cdef class LaneEnds:
    """The lanes of one worker. Its methods need the GIL and a loop that is not running."""

    def __cinit__(self):
        memset(&self.set, 0, sizeof(lane_set))
        self.lanes = {}

    def __dealloc__(self):
        cdef Lane lane
        for i in range(TRANSCEIVERS):
            free(self.set.ends[i])
        for lane in self.lanes.values():
            lane.segment.let_go()

    def attach(self, Lane lane not None):
        """Serve `lane` from now on, instead of an earlier one of its transceiver. ValueError: its rings make no sense.

        Both consumers are woken once: a predecessor may have died between showing records and ringing.
        """
        cdef int transceiver = lane.transceiver
        cdef lane_end *end
        if not 0 <= transceiver < TRANSCEIVERS:
            raise ValueError(f"transceiver {transceiver}: a ufrag can name 0 to {TRANSCEIVERS - 1}")
        end = <lane_end *>calloc(1, sizeof(lane_end))
        if end == NULL:
            raise MemoryError("lane")
        try:
            _open(end, lane)
        except BaseException:
            free(end)
            raise
        self.detach(transceiver)
        lane.segment.hold()  # the ends look into its mapping, whoever closes the Lane
        self.set.ends[transceiver] = end
        self.lanes[transceiver] = lane
        self.gather_active()
        doorbell_ring(&end.control)
        doorbell_ring(&end.media)

    def detach(self, int transceiver):
        """Forget the transceiver's lane and give it back; None when there is none. Its flows count as absent."""
        cdef Lane lane = self.lanes.pop(transceiver, None)
        if lane is not None:
            doorbell_disarm(&self.set.ends[transceiver].worker)
            free(self.set.ends[transceiver])
            self.set.ends[transceiver] = NULL
            self.set.incarnations[transceiver] = 0
            lane.segment.let_go()
            self.gather_active()
        return lane

    def get(self, transceiver):
        """The transceiver's lane, or None."""
        return self.lanes.get(transceiver)

    cdef int gather_active(self) except -1:
        """`active` out of `ends`."""
        self.set.count = 0
        self.set.first = 0
        for i in range(TRANSCEIVERS):
            if self.set.ends[i] != NULL:
                self.set.active[self.set.count] = self.set.ends[i]
                self.set.count += 1
        return 0


cdef int _open(lane_end *end, Lane lane) except -1:
    end.transceiver = lane.transceiver
    end.incarnation_word = &lane.header.segment.incarnation
    lane.open_producer(RINGLINE_RING_HANDSHAKE_IN, &end.handshake_in)
    lane.open_producer(RINGLINE_RING_MEDIA_IN, &end.media_in)
    lane.open_consumer(RINGLINE_RING_CONTROL_OUT, &end.control_out, False)
    lane.open_consumer(RINGLINE_RING_MEDIA_OUT, &end.media_out, True)
    lane.open_doorbell(CONTROL, &end.control)
    lane.open_doorbell(MEDIA, &end.media)
    lane.open_doorbell(WORKER, &end.worker)
    doorbell_set_home(&end.worker, _home())
    return 0


cdef int _home() except -1:
    """1 + the CPU that this thread is pinned to, 0 if it is not: who wakes us from there needs no interrupt for it."""
    cpus = os.sched_getaffinity(0)
    return 1 + min(cpus) if len(cpus) == 1 else 0
