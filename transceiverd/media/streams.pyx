# cython: language_level=3
"""The client's streams of a call: finding them by SSRC, taking up new ones, and RFC 3550's statistics (A.3, A.8).

At most 8 SSRCs a call, for its whole life. A ninth is refused rather than put in the place of an old one: with the old
stream's highest index and window forgotten, every packet of it that an attacker recorded would be fresh again. Eight is
more than a browser uses (one a sender, and one more after each change of tracks that makes a new sender).

A place is taken only by a packet that authenticated, so nobody but the client can use them up.
"""
from libc.stdint cimport int32_t

from shm.layout cimport session_media

from transceiverd.media.state cimport STREAMS, to_units

cdef enum:
    # A step of the transit time beyond this is a new timestamp base (a new source behind the SSRC), not jitter.
    JITTER_STEP_SECONDS_MAX = 10


cdef session_stream *stream_find(session *s, uint32_t ssrc) noexcept nogil:
    cdef int place
    for place in range(STREAMS):
        if s.streams[place].ssrc == ssrc and s.streams[place].in_use:
            return &s.streams[place]
    return NULL


cdef bint stream_has_room(session *s) noexcept nogil:
    return s.streams[STREAMS - 1].in_use == 0


cdef session_stream *stream_take(session *s, uint32_t ssrc) noexcept nogil:
    cdef int place
    for place in range(STREAMS):
        if s.streams[place].in_use == 0:
            s.streams[place].ssrc = ssrc
            s.streams[place].in_use = STREAM_HEARD
            return &s.streams[place]
    return NULL


cdef void stream_count(session *s, session_stream *stream, uint64_t index, uint32_t size) noexcept nogil:
    cdef session_media *media = &s.media
    media.packets_received += 1
    media.bytes_received += size
    if stream.packets == 0:
        stream.base_index = index
    elif index >= stream.rtp_highest:
        media.gaps_up += index - stream.rtp_highest
    elif index < stream.base_index:  # reordered before the first: what lies between is missing now
        media.gaps_up += stream.base_index - index - 1
        stream.base_index = index
    elif media.gaps_up:
        media.gaps_up -= 1  # it was counted as missing
    stream.packets += 1
    stream.bytes += size


cdef void stream_jitter(session_stream *stream, uint32_t timestamp, uint64_t arrival_ns, uint32_t rate) noexcept nogil:
    cdef uint32_t transit = <uint32_t>to_units(arrival_ns, rate) - timestamp
    cdef int32_t step = <int32_t>(transit - stream.transit)
    cdef uint32_t distance = <uint32_t>(-step if step < 0 else step)
    stream.transit = transit
    if stream.packets > 1 and distance < rate * JITTER_STEP_SECONDS_MAX:
        stream.jitter_q4 += distance - ((stream.jitter_q4 + 8) >> 4)
