# cython: language_level=3
"""What native code needs of a lane: its rings' ends and its doorbells."""
from libc.stdint cimport uint64_t

from shm.doorbell cimport doorbell
from shm.layout cimport lane_header
from shm.ring cimport ring
from shm.segment cimport Segment


cdef class Lane:
    cdef readonly Segment segment
    cdef readonly int control_fd  # eventfd of the transceiver's control thread, shared by all lanes of the transceiver
    cdef readonly int media_fd    # eventfd of its media thread, likewise
    cdef readonly int worker_fd   # eventfd of the worker, this lane's own
    cdef readonly int transceiver # as the header said when the lane was made or attached; it is not asked again
    cdef readonly int worker      # likewise
    cdef readonly int major       # likewise: the layout that it was made in
    cdef lane_header *header
    cdef uint64_t capacities[4]   # of the rings, likewise
    cdef uint64_t places[4]       # of their data

    # The handles live as long as the caller keeps the Lane and does not close it. ValueError: the ring makes no sense.
    cdef int open_producer(self, int which, ring *handle) except -1
    cdef int open_consumer(self, int which, ring *handle, bint at_most_once) except -1
    cdef int open_doorbell(self, int which, doorbell *handle) except -1
