# cython: language_level=3
"""A doorbell: how a producer wakes a consumer that sleeps, and pays nothing while it is awake.

Owned by shm/. A doorbell is a word in the lane (`armed`, stored by the consumer alone) and an eventfd. Operations,
producer: publish to the ring, then `doorbell_ring`, once a batch. Consumer, in this order: `doorbell_arm`, look at
*all* its rings again, sleep on the eventfd only if all are empty (with a timeout as a counted alarm); awake:
`doorbell_clear`, `doorbell_disarm`, work. One eventfd may serve the words of many lanes.
"""
from libc.stdint cimport uint32_t, uint64_t
from posix.unistd cimport read, write

from shm.atomics cimport fence_full, load_relaxed_u32, store_relaxed_u32
from shm.layout cimport doorbell_word

cdef struct doorbell:
    doorbell_word *word
    int fd              # eventfd, non-blocking


cdef inline bint doorbell_ring(doorbell *d) noexcept nogil:
    """After `ring_publish`: wake the consumer if it sleeps or is about to. Never blocks. True when it had to be woken.

    SYNC: fence between our tail and its `armed`; PARTNER: the fence in `doorbell_arm`.
    """
    cdef uint64_t one = 1
    fence_full()
    if not load_relaxed_u32(&d.word.armed):
        return False
    # Fails only at 2^64 - 2 unread rings, and then the consumer has reason enough to wake.
    write(d.fd, &one, sizeof(one))
    return True


cdef inline void doorbell_arm(doorbell *d) noexcept nogil:
    """Before sleeping. The caller looks at all its rings again afterwards.

    SYNC: fence between our `armed` and the tails we look at next; PARTNER: the fence in `doorbell_ring`.
    """
    store_relaxed_u32(&d.word.armed, 1)
    fence_full()


cdef inline void doorbell_disarm(doorbell *d) noexcept nogil:
    """Awake: no order needed, a late sight of it costs the producer one needless ring."""
    store_relaxed_u32(&d.word.armed, 0)


cdef inline void doorbell_set_home(doorbell *d, uint32_t home) noexcept nogil:
    """The consumer: 1 + the CPU that it is pinned to, 0 for none. A hint, no order with anything else."""
    store_relaxed_u32(&d.word.home, home)


cdef inline uint32_t doorbell_home(doorbell *d) noexcept nogil:
    """What the consumer said last. A peer may write anything here: good for a choice of CPU, for nothing else."""
    return load_relaxed_u32(&d.word.home)


cdef inline void doorbell_clear(doorbell *d) noexcept nogil:
    """Take back the rings that woke us, so that the eventfd sleeps again. Before the next arm, never after it."""
    cdef uint64_t rings
    read(d.fd, &rings, sizeof(rings))
