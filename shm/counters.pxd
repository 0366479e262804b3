# cython: language_level=3
"""Counters that outlive their writer and are read from outside: one segment and one writing thread each (DESIGN 2.9).

Hot code adds by index; names stand in the segment, so that any release's reader can print them. An addition is a load
and a store, no locked instruction, because there is one writer; a reader sees each value whole, and several values as
of slightly different moments.
"""
from libc.stdint cimport uint64_t

from shm.atomics cimport add_relaxed_u64, load_relaxed_u64, store_relaxed_u64
from shm.layout cimport counter, counters_header
from shm.segment cimport Segment


cdef struct counters:
    counters_header *header
    counter *items  # header.count of them
    uint64_t count  # as it was when this was opened: the bound of every index


# Opens the counters in a mapped segment of `size` bytes. Returns 0, or -1 when the header makes no sense.
cdef int counters_open(counters *opened, char *base, uint64_t size) noexcept nogil


cdef inline void counter_add(counters *opened, uint64_t index, uint64_t n) noexcept nogil:
    """Only the segment's one writer. An index outside is our own bug and ignored: it must not write elsewhere."""
    if index < opened.count:
        add_relaxed_u64(&opened.items[index].value, n)


cdef inline uint64_t counter_read(const counters *opened, uint64_t index) noexcept nogil:
    return load_relaxed_u64(&opened.items[index].value) if index < opened.count else 0


cdef inline void counters_set_batch_in_hand(counters *opened, uint64_t packets) noexcept nogil:
    """Before a batch is taken from the kernel: how many it can be. 0 once all of it is booked (DESIGN 2.6)."""
    store_relaxed_u64(&opened.header.batch_in_hand, packets)


cdef class Counters:
    cdef readonly Segment segment
    cdef counters values        # for cimport: native loops pass &counters.values
    cdef dict positions         # name -> index
