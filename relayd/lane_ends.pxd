# cython: language_level=3
# The worker's ends of its lanes, by transceiver. Described in lane_ends.pyx.
from libc.stdint cimport uint8_t, uint64_t

from shm.doorbell cimport doorbell
from shm.ring cimport ring

cdef enum:
    TRANSCEIVERS = 256          # the ufrag names one in 8 bits

cdef struct lane_end:
    uint8_t transceiver
    const uint64_t *incarnation_word  # in the lane's segment; transceiverd's supervisor writes it
    ring handshake_in           # producer
    ring media_in               # producer
    ring control_out            # consumer, at least once
    ring media_out              # consumer, at most once
    doorbell control            # of the transceiver's control thread: rung after handshake_in
    doorbell media              # of its media thread: rung after media_in
    doorbell worker             # ours
    bint handshake_touched      # claimed in this batch: publish, then ring
    bint media_touched
    bint drained                # records were read from an out ring in this batch: release

cdef struct lane_set:
    lane_end *ends[TRANSCEIVERS]            # by transceiver; NULL: none
    lane_end *active[TRANSCEIVERS]          # the same without gaps
    unsigned int count                      # of active
    unsigned int first                      # which of them is served first, moved on every turn
    uint64_t incarnations[TRANSCEIVERS]     # current one of each transceiver, as of this turn; 0: none, or dead


# At the start of a turn: which transceiver processes are the current ones.
cdef void refresh_incarnations(lane_set *lanes) noexcept nogil

# After a batch: show its records; then, once the outcomes are booked, wake who sleeps. Gives how many were woken.
cdef void publish_touched(lane_set *lanes) noexcept nogil
cdef unsigned int ring_touched(lane_set *lanes) noexcept nogil

# Around sleeping.
cdef void arm_all(lane_set *lanes) noexcept nogil
cdef void disarm_all(lane_set *lanes) noexcept nogil
cdef bint any_waiting(lane_set *lanes) noexcept nogil


cdef class LaneEnds:
    cdef lane_set set
    cdef dict lanes             # transceiver -> Lane: what the native ends look into

    cdef int gather_active(self) except -1
