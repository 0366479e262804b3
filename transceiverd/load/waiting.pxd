# cython: language_level=3
"""How the packet thread waits."""
from libc.stdint cimport uint64_t
from posix.time cimport CLOCK_MONOTONIC, timespec

from transceiverd.load.udp cimport epoll_event, epoll_pwait2

cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int option, unsigned long value)
    int PR_SET_TIMERSLACK

cdef extern from "<time.h>" nogil:
    int clock_nanosleep(int clock, int flags, const timespec *request, timespec *remain)
    int TIMER_ABSTIME


cdef inline void wait_exactly() noexcept nogil:
    """No timer slack for this thread: 50 microseconds by default, prctl(2)."""
    prctl(PR_SET_TIMERSLACK, 1)


cdef inline void wait_until(uint64_t at) noexcept nogil:
    """CLOCK_MONOTONIC, ns."""
    cdef timespec until
    until.tv_sec = at // 1_000_000_000
    until.tv_nsec = at % 1_000_000_000
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL)


cdef inline void wait_readable(int epoll, uint64_t ns) noexcept nogil:
    """For a descriptor of the epoll, or so long."""
    cdef epoll_event event
    cdef timespec timeout
    timeout.tv_sec = ns // 1_000_000_000
    timeout.tv_nsec = ns % 1_000_000_000
    epoll_pwait2(epoll, &event, 1, &timeout, NULL)
