# cython: language_level=3
"""The native echo: an authentic RTP packet becomes one of ours and goes back."""
from libc.stdint cimport uint32_t, uint64_t

from shm.layout cimport session_payload, session_stream

from transceiverd.media.state cimport call, media_thread

# `m.packet` holds the plain packet of `size` bytes with its payload from `start`; it is worked on in place.
# Returns the packet's outcome. `first`: nothing of this stream was heard before.
cdef int echo_packet(
    media_thread *m, call *c, session_stream *stream, uint64_t index, uint32_t start, uint32_t size
) noexcept nogil

# The payload type as the answer accepted it; NULL: it did not.
cdef const session_payload *find_payload(call *c, int payload_type) noexcept nogil
