# cython: language_level=3
"""The native leaves of rtp.py: no object, no exception, primitive arguments."""
cimport cython

cdef int RTP_HEADER_SIZE  # bytes of the fixed header
cdef int TRUNCATED        # the refusals: negative, so that they cannot be taken for an offset
cdef int VERSION
cdef int CSRC
cdef int EXTENSION
cdef int PADDING

cdef unsigned int read_u16(const unsigned char *data, Py_ssize_t at) noexcept nogil
cdef unsigned int read_u32(const unsigned char *data, Py_ssize_t at) noexcept nogil

# Offset of the payload in an RTP packet of `size` bytes, or a refusal.
@cython.locals(offset=Py_ssize_t)
cdef int payload_start(const unsigned char *data, Py_ssize_t size) noexcept nogil

# End of the payload once padding is taken off, or a refusal. Padding is encrypted in SRTP: for plain packets only.
@cython.locals(padding=Py_ssize_t)
cdef int payload_end(const unsigned char *data, Py_ssize_t size, Py_ssize_t start) noexcept nogil
