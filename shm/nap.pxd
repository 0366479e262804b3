# cython: language_level=3
"""A nap: sleeping for a set time instead of arming a doorbell, so that several packets are found by one wake-up.

Used by the media thread's loop; any consumer of rings may. Operations: `nap_open` with a bound; after each turn `nap_count`
what it handled; `nap_length` says how long to sleep, 0: not at all. No clock, no system call in here.

The rule: a nap lasts as long as GATHER packets take to come at the rate of the last window, and only if that is within the
bound. So nothing is held longer than the bound, and at a rate at which a nap would not gather anything there is none.
Nothing is lost by it: who naps has not armed its doorbell, its producers do not ring, and it looks at its rings when the
time is over, whoever said what meanwhile (the same argument as for a consumer in the middle of a long turn).
"""
from libc.stdint cimport uint64_t

cdef enum:
    GATHER = 4                  # packets; a timer costs about as much as two wake-ups (bench/README.md)
    WINDOW_NS = 5_000_000       # over which the rate is taken: short enough to notice that somebody stopped talking

cdef struct nap_rule:
    uint64_t bound_ns           # 0: never
    uint64_t since_ns           # the window began
    uint64_t counted            # packets in it
    uint64_t gap_ns             # mean time between packets in the window before; 0: there were none


cdef inline void nap_open(nap_rule *n, uint64_t bound_ns) noexcept nogil:
    n.bound_ns = bound_ns
    n.since_ns = n.counted = n.gap_ns = 0


cdef inline void nap_count(nap_rule *n, uint64_t packets, uint64_t now) noexcept nogil:
    n.counted += packets
    if now - n.since_ns >= WINDOW_NS:
        n.gap_ns = (now - n.since_ns) // n.counted if n.counted else 0
        n.since_ns, n.counted = now, 0


cdef inline uint64_t nap_length(const nap_rule *n) noexcept nogil:
    """Nanoseconds."""
    cdef uint64_t wanted = GATHER * n.gap_ns
    return wanted if wanted <= n.bound_ns else 0
