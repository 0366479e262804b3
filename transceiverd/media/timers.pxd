# cython: language_level=3
"""When each call's next RTCP report is due: a binary heap over slots, natively."""
from libc.stdint cimport uint32_t, uint64_t

from transceiverd.media.state cimport call, media_thread

# Make `due_ns` the one deadline of an installed call.
cdef void timer_set(media_thread *m, call *c, uint64_t due_ns) noexcept nogil
cdef void timer_clear(media_thread *m, call *c) noexcept nogil
# The call whose deadline is the earliest and not after `now`, taken out of the heap; NULL: none is due.
cdef call *timer_due(media_thread *m, uint64_t now) noexcept nogil
