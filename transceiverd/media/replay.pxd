# cython: language_level=3
"""Packet indexes and replay windows (RFC 3711 sections 3.3.1 and 3.3.2), inlined where they are cimported.

The words live in `struct session` (shm/layout.h) and are authoritative; libsrtp's own are a cache behind them.
`highest` is the highest authenticated index + 1, 0 for none; bit j of the 128-bit window says that index highest - 1 -
j was seen.

The three words cannot be stored at once, and a process may die between any two instructions. So the window says that
everything was seen while `highest` moves: a successor never lets a packet in twice, and loses none that is newer
(DESIGN 2.6, 2.13). The stores are atomic so that no compiler drops or moves one.
"""
from libc.stdint cimport uint16_t, uint64_t

from shm.atomics cimport store_release_u64

cdef enum:
    # Packets. RFC 3711 asks for at least 64; libsrtp keeps 128 for SRTCP, so with as many ours is never the wider one.
    REPLAY_WINDOW = 128

cdef extern from *:
    """
    #define RINGLINE_ALL_SEEN 0xffffffffffffffffULL
    """
    const uint64_t ALL_SEEN "RINGLINE_ALL_SEEN"

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
    """Only after the packet authenticated and `replay_check` said fresh, and before anything is done with it."""
    cdef uint64_t age, step, older = 0, newer = 0
    if index < highest[0]:
        age = highest[0] - 1 - index
        store_release_u64(&window[age >> 6], window[age >> 6] | (<uint64_t>1) << (age & 63))
        return
    step = index + 1 - highest[0]
    if step < 64:
        older = (window[1] << step) | (window[0] >> (64 - step))
        newer = window[0] << step
    elif step < 128:
        older = window[0] << (step - 64)
    store_release_u64(&window[1], ALL_SEEN)
    store_release_u64(&window[0], ALL_SEEN)
    store_release_u64(highest, index + 1)
    store_release_u64(&window[1], older)
    store_release_u64(&window[0], newer | 1)
