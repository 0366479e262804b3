# cython: language_level=3
"""The client's streams of a call: finding, taking up, and RFC 3550's statistics."""
from libc.stdint cimport uint32_t, uint64_t

from shm.layout cimport session, session_stream

cdef enum:
    STREAM_HEARD = 1    # session_stream.in_use
    STREAM_ECHOED = 2   # likewise: this stream is or was the echoed one

# NULL: no such SSRC was authenticated yet.
cdef session_stream *stream_find(session *s, uint32_t ssrc) noexcept nogil
cdef bint stream_has_room(session *s) noexcept nogil
# Only for a packet that authenticated, and only with room.
cdef session_stream *stream_take(session *s, uint32_t ssrc) noexcept nogil

# An authentic RTP packet with this index; before the replay window is told of it.
cdef void stream_count(session *s, session_stream *stream, uint64_t index, uint32_t size) noexcept nogil
# RFC 3550 A.8. `arrival_ns` is when the worker received the batch.
cdef void stream_jitter(session_stream *stream, uint32_t timestamp, uint64_t arrival_ns, uint32_t rate) noexcept nogil
