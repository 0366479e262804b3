# cython: language_level=3
"""Packet indexes and replay windows (RFC 3711 sections 3.3.1 and 3.3.2), inlined where they are cimported.

The words live in `struct session` (shm/layout.h) and are authoritative; libsrtp's own are a cache behind them.
`highest` is the highest authenticated index + 1, 0 for none; bit j of the 128-bit window says that index highest - 1 -
j was seen.
"""
from libc.stdint cimport uint16_t, uint64_t

cdef enum:
    # Packets. RFC 3711 asks for at least 64; libsrtp keeps 128 for SRTCP, so with as many ours is never the wider one.
    REPLAY_WINDOW = 128

cdef enum replay_verdict:
    REPLAY_FRESH = 0
    REPLAY_SEEN = 1
    REPLAY_TOO_OLD = 2


cdef inline uint64_t estimate_index(uint64_t highest, uint16_t sequence) noexcept nogil:
    """The index 2^16 * ROC + SEQ that is closest to the highest one (RFC 3711 3.3.1); there is no ROC below 0."""
    cdef uint64_t last = highest - 1 if highest else sequence
    cdef uint64_t rollover = last >> 16
    cdef int difference = <int>sequence - <int>(last & 0xFFFF)
    if difference > 0x8000 and rollover > 0:
        rollover -= 1
    elif difference < -0x8000:
        rollover += 1
    return (rollover << 16) | sequence


cdef inline replay_verdict replay_check(uint64_t highest, const uint64_t *window, uint64_t index) noexcept nogil:
    cdef uint64_t age
    if index >= highest:
        return REPLAY_FRESH
    age = highest - 1 - index
    if age >= REPLAY_WINDOW:
        return REPLAY_TOO_OLD
    return REPLAY_SEEN if (window[age >> 6] >> (age & 63)) & 1 else REPLAY_FRESH


cdef inline void replay_add(uint64_t *highest, uint64_t *window, uint64_t index) noexcept nogil:
    """Only after the packet authenticated and `replay_check` said fresh."""
    cdef uint64_t age, step
    if index < highest[0]:
        age = highest[0] - 1 - index
        window[age >> 6] |= (<uint64_t>1) << (age & 63)
        return
    step = index + 1 - highest[0]
    if step >= 128:
        window[1] = 0
        window[0] = 0
    elif step >= 64:
        window[1] = window[0] << (step - 64)
        window[0] = 0
    else:
        window[1] = (window[1] << step) | (window[0] >> (64 - step))
        window[0] <<= step
    window[0] |= 1
    highest[0] = index + 1
