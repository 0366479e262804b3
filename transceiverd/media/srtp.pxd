# cython: language_level=3
"""libsrtp as pylibsrtp brings it, called natively: function pointers, and contexts by address."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

# libsrtp 2.7, srtp.h: a context, a packet that is worked on in place, its size in and out; srtp_err_status_t back.
ctypedef int (*packet_function)(void *context, void *packet, int *size) noexcept nogil
ctypedef int (*rollover_function)(void *context, uint32_t ssrc, uint32_t rollover) noexcept nogil

ctypedef int (*create_function)(void **context, const void *policy) noexcept nogil
ctypedef int (*stream_function)(void *context, const void *policy) noexcept nogil
ctypedef int (*dealloc_function)(void *context) noexcept nogil

cdef struct srtp_library:
    create_function create
    stream_function add_stream
    dealloc_function dealloc
    packet_function protect
    packet_function unprotect
    packet_function protect_rtcp
    packet_function unprotect_rtcp
    rollover_function set_stream_roc

cdef srtp_library srtp  # filled in when this module is imported

cdef enum:  # srtp_err_status_t
    SRTP_OK = 0
    SRTP_REPLAY_FAIL = 9
    SRTP_REPLAY_OLD = 10

cdef enum:
    SRTCP_INDEX_SIZE = 4       # bytes: E bit and index
    SRTCP_INDEX_LAST = 0x7FFFFFFF
    RTP_INDEX_BITS = 48

# Bytes that protection adds to an RTP packet under an IANA DTLS-SRTP profile; 0: unknown profile.
cdef int tag_size(uint16_t profile) noexcept nogil


cdef class SrtpContext:
    cdef object __weakref__
    cdef void *context              # srtp_t, freed with this object
    cdef readonly int profile       # IANA number
    cdef readonly uint64_t rtcp_index  # highest SRTCP index used for sending; the next is one more
    cdef readonly tuple streams     # SSRCs that have a stream of their own
    cdef readonly uint32_t ssrc     # of an outbound context

    cdef int advance(self, uint64_t rtcp_index) except -1
