# cython: language_level=3
"""The native leaves of rtcp.py: a compound is checked once as a whole, then read without further checks."""
cimport cython

cdef int RTCP_HEADER_SIZE    # bytes: header and the sender's SSRC, what SRTCP leaves in the clear
cdef int SENDER_REPORT       # packet types
cdef int RECEIVER_REPORT
cdef int SOURCE_DESCRIPTION
cdef int GOODBYE
cdef int REPORT_BLOCK_SIZE   # bytes
cdef int TRUNCATED           # the refusals: negative
cdef int VERSION
cdef int LENGTH
cdef int PADDING
cdef int REPORT
cdef int DESCRIPTION
cdef int BYE

# End of the packet that starts at `at`, or a refusal.
@cython.locals(end=Py_ssize_t)
cdef int packet_end(const unsigned char *data, Py_ssize_t size, Py_ssize_t at) noexcept nogil

# End of what that packet says once padding (on the last packet only) is taken off, or a refusal.
@cython.locals(padding=Py_ssize_t)
cdef int body_end(const unsigned char *data, Py_ssize_t size, Py_ssize_t at, Py_ssize_t end) noexcept nogil

# 0 when the body fits its type and count, or a refusal. Unknown types fit.
@cython.locals(count=Py_ssize_t, kind=int)
cdef int check_body(const unsigned char *data, Py_ssize_t at, Py_ssize_t end) noexcept nogil

# End of one SDES chunk that starts at `at`, or a refusal.
@cython.locals(start=Py_ssize_t)
cdef int chunk_end(const unsigned char *data, Py_ssize_t at, Py_ssize_t end) noexcept nogil

# 0 for a compound that can be read to its end, or the first refusal.
@cython.locals(at=Py_ssize_t, end=Py_ssize_t, limit=Py_ssize_t, verdict=int)
cdef int check_compound(const unsigned char *data, Py_ssize_t size) noexcept nogil
