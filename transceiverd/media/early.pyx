# cython: language_level=3
"""SRTP that came before its keys: at most 8 packets a call for 500 ms (DESIGN 2.5).

A client's first packets can overtake the end of the DTLS handshake, because handshake and media travel in separate
rings and control is slower than the media thread. They are put aside when their call has passed a check and is not
installed yet, and handled like any other at install. The number of calls that may do so at once is bounded too
(config.py); the search through the blocks is linear because only calls in the middle of their set-up come here.
"""
from libc.string cimport memcpy

from shm.layout cimport RINGLINE_SESSION_CHECKED, RINGLINE_SESSION_CONNECTED, session
from shm.session cimport session_generation, session_state

from transceiverd.media.outcomes cimport (
    DROPPED_EARLY_EXPIRED,
    DROPPED_EARLY_OVER_BOUND,
    DROPPED_NOT_INSTALLED,
    DROPPED_STALE,
    EARLY_KEPT,
    EARLY_RELEASED,
    OUTCOME_KEPT,
)
from transceiverd.media.state cimport EARLY_PACKETS, count, early_packet, session_of


cdef early_call *early_find(media_thread *m, uint32_t slot, uint16_t generation) noexcept nogil:
    cdef uint32_t place
    if m.early_used == 0:
        return NULL
    for place in range(m.early_blocks):
        if m.early[place].count and m.early[place].slot == slot and m.early[place].generation == generation:
            return &m.early[place]
    return NULL


cdef early_call *_find_free(media_thread *m) noexcept nogil:
    cdef uint32_t place
    for place in range(m.early_blocks):
        if m.early[place].count == 0:
            return &m.early[place]
    return NULL


cdef int early_keep(
    media_thread *m, const record *header, const uint8_t *payload, uint32_t size, uint32_t lane
) noexcept nogil:
    cdef session *s = session_of(m, header.slot)
    cdef early_call *block
    cdef early_packet *kept
    cdef int state = session_state(s)
    if session_generation(s) != header.generation:
        return DROPPED_STALE
    if state != RINGLINE_SESSION_CHECKED and state != RINGLINE_SESSION_CONNECTED:
        return DROPPED_NOT_INSTALLED
    block = early_find(m, header.slot, header.generation)
    if block == NULL:
        block = _find_free(m)
    if block == NULL or block.count == EARLY_PACKETS or size > sizeof(kept.data):
        s.media.dropped_early += 1
        return DROPPED_EARLY_OVER_BOUND
    if block.count == 0:
        block.slot = header.slot
        block.generation = header.generation
        block.since_ns = m.now
        m.early_used += 1
    kept = &block.packets[block.count]
    kept.header = header[0]
    kept.lane = lane
    kept.size = size
    memcpy(kept.data, payload, size)
    block.count += 1
    count(m, EARLY_KEPT, 1)
    return OUTCOME_KEPT


cdef void early_free(media_thread *m, early_call *block) noexcept nogil:
    count(m, EARLY_RELEASED, block.count)
    block.count = 0
    m.early_used -= 1


cdef void _drop(media_thread *m, early_call *block) noexcept nogil:
    cdef session *s = session_of(m, block.slot)
    if session_generation(s) == block.generation:
        s.media.dropped_early += block.count
    count(m, DROPPED_EARLY_EXPIRED, block.count)
    early_free(m, block)


cdef void early_expire(media_thread *m) noexcept nogil:
    cdef uint32_t place
    if m.early_used == 0:
        return
    for place in range(m.early_blocks):
        if m.early[place].count and m.now - m.early[place].since_ns > m.early_time_ns:
            _drop(m, &m.early[place])


cdef void early_discard(media_thread *m, uint32_t slot) noexcept nogil:
    cdef uint32_t place
    if m.early_used == 0:
        return
    for place in range(m.early_blocks):
        if m.early[place].count and m.early[place].slot == slot:
            _drop(m, &m.early[place])
