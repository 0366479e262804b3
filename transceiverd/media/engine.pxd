# cython: language_level=3
"""The media thread itself."""
from libc.stdint cimport uint32_t, uint64_t

from shm.counters cimport Counters
from shm.segment cimport Segment

from transceiverd.media.channel cimport Channel
from transceiverd.media.state cimport media_thread


cdef class MediaEngine:
    cdef media_thread thread
    cdef Segment sessions       # keeps the mapping alive, as do the next three
    cdef Counters counters
    cdef Channel channel
    cdef list lanes
    cdef void *memory           # scratch packets
    cdef uint32_t stopping      # 1: run() is asked to return
    cdef uint64_t coalesce_ns
    cdef bint follow_worker     # see placement.pyx
    cdef int media_fd           # eventfd shared by all lanes; -1: none

    cdef int _allocate(self, uint32_t early_calls) except -1
    cdef int _open_lane(self, lane, uint32_t place) except -1
