# cython: language_level=3, boundscheck=False, wraparound=False
"""How a worker waits: for packets in its sockets, records in its out rings, a word from its supervisor.

Used by the worker's loop (worker.pyx) when a turn found nothing, and every batch or so while it is busy. The order of
arming, looking again and sleeping is argued in shm/README.md. How long it slept is counted (`asleep_ns`): that is how
the supervisor knows how busy a worker is, without asking (steering.py).
"""
from libc.errno cimport errno

from relayd.lane_ends cimport any_waiting, arm_all, disarm_all
from relayd.outcomes cimport ASLEEP_NS, LOST_WAKEUPS, SLEEPS, tally_add
from relayd.udp cimport epoll_event, epoll_wait

cdef enum:
    # How long a sleep may last: bounds the age of the heartbeat and what a lost wake-up could cost.
    SLEEP_MS = 20
    EVENTS = 16             # of epoll, a call; what is left over is reported by the next


cdef int sleep(packet_loop *loop) noexcept nogil:
    """PARTNER: doorbell_ring on the other side of each lane."""
    cdef int failure, events = 0
    cdef uint64_t since
    arm_all(loop.way_in.lanes)
    if any_waiting(loop.way_in.lanes):
        disarm_all(loop.way_in.lanes)
        return 0
    tally_add(loop.tally, SLEEPS, 1)
    book(loop)
    since = monotonic_ns()
    failure = poll_events(loop, SLEEP_MS, &events)
    disarm_all(loop.way_in.lanes)
    counter_add(&loop.counted, ASLEEP_NS, monotonic_ns() - since)
    if failure == 0 and events == 0 and any_waiting(loop.way_in.lanes):
        # May also be a producer held up between its tail and its ring while our sleep ended: rare, so still an alarm.
        counter_add(&loop.counted, LOST_WAKEUPS, 1)
    return failure


cdef int poll_events(packet_loop *loop, int timeout_ms, int *found) noexcept nogil:
    cdef epoll_event events[EVENTS]
    cdef int i
    cdef int count = epoll_wait(loop.epoll, events, EVENTS, timeout_ms)
    loop.unpolled = 0
    if count < 0:
        return errno
    for i in range(count):
        if events[i].data.u64 == CONTROL:
            loop.told_to_return = True
        elif events[i].data.u64 != DOORBELL:
            loop.receivers[events[i].data.u64].readable = True
    if found != NULL:
        found[0] = count
    return 0
