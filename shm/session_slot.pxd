# cython: language_level=3
"""Giving a session slot out, taking it back, its double-buffered blob: every store. Called by session.pyx only.

A slot is FREE until the one store of its tag that gives it out, and in use until the one that frees it; a blob counts
from the one store of `blob_current`. README.md argues each death.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from shm.atomics cimport (
    fault_point,
    fence_acquire,
    fence_release,
    load_acquire_u32,
    load_acquire_u64,
    load_relaxed_u32,
    load_relaxed_u64,
    store_relaxed_u32,
    store_relaxed_u64,
    store_release_u32,
    store_release_u64,
)
from shm.layout cimport (
    RINGLINE_ORIGIN,
    RINGLINE_SESSION_BLOB,
    RINGLINE_SESSION_FREE,
    RINGLINE_SESSION_NEW,
    RINGLINE_SESSION_VERSION,
    session,
    session_blob,
)
from shm.session cimport session_blob_at, session_generation

cdef enum:
    BLOB_CHUNK = 256       # bytes between fault points
    STATE_SHIFT = 48
    APPLICATION_SHIFT = 56
    NO_PLACE = -1


# ---------------------------------------------------------------------------------------------- one slot

cdef inline uint64_t *tag_word(const session *call) noexcept nogil:
    return <uint64_t *>&call.version


cdef inline void store_tag(session *call, uint16_t generation, uint64_t state, uint64_t application) noexcept nogil:
    """PARTNER: session_tag. What was written to the slot before is seen by who sees this."""
    store_release_u64(tag_word(call), <uint64_t>RINGLINE_SESSION_VERSION | (<uint64_t>generation << 32)
                      | (state << STATE_SHIFT) | (application << APPLICATION_SHIFT))


cdef inline void wipe(session *call) noexcept nogil:
    """Nothing of a call but its tag and the sequence of its addresses stays: keys are secret, zeros are a new call. The
    sequence goes on, so that a copy of the last call's addresses is seen to be old."""
    cdef uint64_t sequence = load_relaxed_u64(&call.address_sequence)
    cdef uint64_t closing_ns = call.closing_ns
    fault_point()
    memset(session_blob_at(call, 0), 0, 2 * RINGLINE_SESSION_BLOB)
    fault_point()
    memset(<char *>call + sizeof(uint64_t), 0, sizeof(session) - sizeof(uint64_t))
    fault_point()
    call.closing_ns = closing_ns
    store_relaxed_u32(<uint32_t *>&call.nominated, <uint32_t>NO_PLACE)
    store_relaxed_u64(&call.address_sequence, (sequence | 1) + 1)


cdef inline void give_out(session *call, uint32_t slot, uint64_t origin_base, uint64_t incarnation,
                          uint64_t now) noexcept nogil:
    """Killed before store_tag: the slot is free as before."""
    cdef uint16_t generation = <uint16_t>(session_generation(call) + 1)
    wipe(call)
    call.slot = slot
    call.incarnation = incarnation
    call.origin = origin_base | RINGLINE_ORIGIN(0, 0, slot, generation)
    call.created_ns = now
    call.closing_ns = 0
    store_tag(call, generation, RINGLINE_SESSION_NEW, 0)


cdef inline void take_back(session *call) noexcept nogil:
    """Killed before store_tag: the slot is in use as before, maybe without its keys; its successor frees it again."""
    wipe(call)
    store_tag(call, session_generation(call), RINGLINE_SESSION_FREE, 0)


# ---------------------------------------------------------------------------------------------- blobs

cdef inline void blob_write(session *call, const char *data, uint32_t length, uint32_t checksum) noexcept nogil:
    """Into the blob that is not current. Killed before the last store: the old one is current and untouched."""
    cdef uint32_t current = load_relaxed_u32(&call.blob_current) & 1
    cdef uint32_t target = 1 - current
    cdef session_blob *blob = session_blob_at(call, target)
    cdef uint64_t sequence = load_relaxed_u64(&session_blob_at(call, current).sequence) + 1
    cdef uint32_t done = 0, chunk
    store_relaxed_u64(&blob.sequence, 0)  # a reader that is still in here sees that it lost its blob ...
    fence_release()                       # ... PARTNER: the fence in blob_copy
    while done < length:
        fault_point()
        chunk = min(<uint32_t>BLOB_CHUNK, length - done)
        memcpy(&blob.bytes[done], data + done, chunk)
        done += chunk
    store_relaxed_u32(&blob.length, length)
    store_relaxed_u32(&blob.checksum, checksum)
    store_release_u64(&blob.sequence, sequence)
    store_release_u32(&call.blob_current, target)


cdef inline bint blob_copy(const session *call, char *into, uint32_t *length, uint32_t *checksum) noexcept nogil:
    """One try. False: there is none, or the writer took it away twice meanwhile."""
    cdef session_blob *blob = session_blob_at(call, load_acquire_u32(&call.blob_current) & 1)
    cdef uint64_t sequence = load_acquire_u64(&blob.sequence)
    length[0] = load_relaxed_u32(&blob.length)
    checksum[0] = load_relaxed_u32(&blob.checksum)
    if sequence == 0 or length[0] > sizeof(blob.bytes):
        return False
    memcpy(into, blob.bytes, length[0])
    fence_acquire()
    return load_relaxed_u64(&blob.sequence) == sequence
