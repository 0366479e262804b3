# cython: language_level=3
"""The session segment of one transceiver: a slot for each call, with its struct and two blobs (DESIGN 2.5, 2.13).

`struct session` in layout.h lists every field and its one writing thread. The control thread makes, fills and frees
slots through SessionSegment and SessionRecord; the media thread takes `session_at` and works on the struct.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from shm.atomics cimport load_acquire_u64
from shm.layout cimport (
    RINGLINE_SESSION_BLOB,
    RINGLINE_SESSION_STRIDE,
    RINGLINE_SESSIONS_OFFSET,
    session,
    session_blob,
    sessions_header,
)
from shm.segment cimport Segment
from shm.session_addresses cimport (
    SessionAddresses,
    session_addresses,
    session_addresses_changed,
    session_read_addresses,
    session_recover_addresses,
)
from shm.session_state cimport DtlsState, MediaView, SrtpKeys


cdef inline session *session_at(char *base, uint32_t slot) noexcept nogil:
    """The call in this slot of a mapped session segment; NULL when there is no such slot."""
    if slot >= (<sessions_header *>base).slots:
        return NULL
    return <session *>(base + RINGLINE_SESSIONS_OFFSET + <uint64_t>slot * RINGLINE_SESSION_STRIDE)


# Version, generation, state and application share the struct's first word, so that giving a slot out and freeing it are
# one store each.
cdef inline uint64_t session_tag(const session *call) noexcept nogil:
    return load_acquire_u64(<uint64_t *>&call.version)


cdef inline uint16_t session_generation(const session *call) noexcept nogil:
    return <uint16_t>(session_tag(call) >> 32)


cdef inline int session_state(const session *call) noexcept nogil:
    """RINGLINE_SESSION_*."""
    return <int>((session_tag(call) >> 48) & 0xff)


cdef inline session_blob *session_blob_at(const session *call, int which) noexcept nogil:
    return <session_blob *>(<char *>call + (RINGLINE_SESSION_STRIDE - 2 * RINGLINE_SESSION_BLOB)
                            + which * RINGLINE_SESSION_BLOB)


cdef class SessionSegment:
    cdef readonly Segment segment
    cdef char *base               # for cimport: session_at(sessions.base, slot)
    cdef readonly uint32_t slots
    cdef public int machine       # goes into the origin of each call
    cdef object free_slots        # deque, oldest freed first; None when attached as a reader

    cdef session *_call(self, slot) except NULL
    cdef object _writer(self)


cdef class SessionRecord:
    cdef session *call
    cdef SessionSegment owner
    cdef DtlsState _dtls
    cdef SrtpKeys _srtp
    cdef SessionAddresses _addresses
