# cython: language_level=3
"""Views of parts of a call's struct for Python: DTLS and SRTP keys (control writes), media state (control reads).

A view is two pointers; it copies nothing and keeps the mapping alive.
"""
from libc.stdint cimport uint64_t

from shm.layout cimport session, session_dtls, session_srtp_keys


cdef class DtlsState:
    cdef session_dtls *state
    cdef object owner

    cdef uint64_t *_head(self) noexcept
    cdef tuple _lengths(self)

    @staticmethod
    cdef DtlsState over(session *call, object owner)


cdef class SrtpKeys:
    cdef session_srtp_keys *keys
    cdef object owner

    cdef tuple _lengths(self)

    @staticmethod
    cdef SrtpKeys over(session *call, object owner)


cdef class MediaView:
    cdef char *base      # of a session_media or session_stream
    cdef dict fields     # of shm/layout.py
    cdef object owner

    cdef object _load(self, int offset, str kind)
    @staticmethod
    cdef MediaView over(char *base, dict fields, object owner)
