# cython: language_level=3
# On which CPU the media thread runs. Described in placement.pyx.
from libc.stdint cimport uint64_t

from transceiverd.media.state cimport media_thread

cdef extern from "<sched.h>" nogil:
    ctypedef struct cpu_set_t:
        pass

cdef enum:
    LOOK_NS = 100_000_000        # between two looks: soon enough for a load that rises, and nothing to pay for

cdef struct placement:
    bint follows                 # as configured, and as long as the kernel lets us
    int home                     # 1 + the CPU that we are on with a worker; 0: free
    uint64_t looked_ns
    uint64_t asleep_ns           # since the last look
    cpu_set_t everywhere         # where the thread was allowed to run when it began


# Before the first look, on the thread itself.
cdef void placement_begin(placement *p, bint follows) noexcept nogil

# About every LOOK_NS, on the thread itself: choose, and go there.
cdef void placement_look(placement *p, media_thread *m, uint64_t now) noexcept nogil

# The choice alone: 1 + the CPU to share with a worker, or 0 to run anywhere.
cdef int placement_choose(placement *p, media_thread *m, uint64_t elapsed_ns) noexcept nogil
