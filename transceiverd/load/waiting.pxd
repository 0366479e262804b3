# cython: language_level=3
"""How the packet thread waits, and how the control thread gets in between: sleeping, and a lock that lets others in."""
from libc.stdint cimport uint64_t
from posix.time cimport CLOCK_MONOTONIC, timespec

from transceiverd.load.udp cimport epoll_event, epoll_pwait2

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *lock, void *attributes)
    int pthread_mutex_lock(pthread_mutex_t *lock)
    int pthread_mutex_unlock(pthread_mutex_t *lock)
    int sched_yield()

cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int option, unsigned long value)
    int PR_SET_TIMERSLACK

cdef extern from "<time.h>" nogil:
    int clock_nanosleep(int clock, int flags, const timespec *request, timespec *remain)
    int TIMER_ABSTIME

cdef extern from * nogil:
    """
    #define load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #define add_relaxed(p, n) __atomic_fetch_add((p), (n), __ATOMIC_RELAXED)
    """
    int load_relaxed(int *p)
    int add_relaxed(int *p, int n)

cdef struct polite_lock:
    pthread_mutex_t mutex
    int waiting                  # threads that wait for it; relaxed, a hint


cdef inline void lock_open(polite_lock *lock) noexcept nogil:
    pthread_mutex_init(&lock.mutex, NULL)
    lock.waiting = 0


cdef inline void lock_take(polite_lock *lock) noexcept nogil:
    add_relaxed(&lock.waiting, 1)
    pthread_mutex_lock(&lock.mutex)
    add_relaxed(&lock.waiting, -1)


cdef inline void lock_give(polite_lock *lock) noexcept nogil:
    pthread_mutex_unlock(&lock.mutex)


cdef inline void lock_let_others(polite_lock *lock) noexcept nogil:
    """After giving it: a mutex is not fair, and who takes it again at once would have it for ever."""
    while load_relaxed(&lock.waiting) > 0:
        sched_yield()


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
