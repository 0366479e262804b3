# cython: language_level=3
"""What native code needs of a segment: where it is mapped, how large it really is, and its heartbeat."""
from libc.stdint cimport uint64_t

from shm.atomics cimport add_relaxed_u64, store_relaxed_u64
from shm.layout cimport segment_header


cdef class Segment:
    cdef char *base              # NULL once closed and no view is left
    cdef segment_header *header  # the same address
    cdef readonly uint64_t size  # bytes mapped, from fstat at the time the segment was sealed; never from its header
    cdef readonly int fd         # -1 once closed
    cdef readonly int kind       # RINGLINE_SEGMENT_*
    cdef int minor               # of the layout it was made in: an older or newer release's may differ from ours
    cdef int views               # who still looks into the mapping

    cdef int hold(self) except -1
    cdef void let_go(self) noexcept
    cdef void _unmap(self) noexcept
    cdef segment_header *_open_header(self) except NULL
    cdef int restore_header(self, int index, int peer_index, int major) except -1


cdef inline void segment_beat(segment_header *header, uint64_t now) noexcept nogil:
    """One turn of the writer's loop, or a second of idleness: readable from outside (DESIGN 2.8)."""
    store_relaxed_u64(&header.heartbeat_ns, now)
    add_relaxed_u64(&header.heartbeat, 1)
