# cython: language_level=3
# How a worker waits. Described in waiting.pyx.
from libc.stdint cimport uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from relayd.loop cimport TALLIES, packet_loop
from relayd.outcomes cimport COUNTERS
from shm.counters cimport counter_add

cdef enum:
    # Who an epoll event is for. A lane's doorbell needs no answer: it only ends the sleep.
    SOCKET_V4 = 0
    SOCKET_V6 = 1
    CONTROL = 2
    DOORBELL = 3


cdef inline uint64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef inline void book(packet_loop *loop) noexcept nogil:
    """The tally goes into the counter segment."""
    cdef int i
    for i in range(<int>COUNTERS):
        if loop.tally[i]:
            counter_add(&loop.counted, i, loop.tally[i])
            loop.tally[i] = 0


# Until somebody has something for us; 0 or an errno.
cdef int sleep(packet_loop *loop) noexcept nogil

# Notes who is readable; 0 or an errno. `found`: how many descriptors were, or NULL.
cdef int poll_events(packet_loop *loop, int timeout_ms, int *found) noexcept nogil
