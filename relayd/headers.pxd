# The relay's view of a packet, for the worker. The rules and the codes are described in headers.py.
cimport cython


# Kind (1 STUN, 2 DTLS, 3 RTP, 4 RTCP: the record types of shm/layout.h) by the first two bytes, or -2.
cpdef int classify(int first_byte, int second_byte) noexcept nogil

# Kind of a packet, or minus a place in REASONS. Reads at most two bytes.
@cython.locals(kind=int)
cpdef int packet_kind(const unsigned char *data, Py_ssize_t size) noexcept nogil

cpdef int fixed_header_size(int kind) noexcept nogil

# Offset of our 30 ufrag characters in a Binding request, or minus a place in REASONS. Never reads at or behind `size`.
@cython.locals(code=int)
cpdef int binding_request_ufrag(const unsigned char *data, Py_ssize_t size) noexcept nogil

@cython.locals(length=int, message_type=int)
cpdef int check_binding_request(const unsigned char *data, Py_ssize_t size) noexcept nogil

@cython.locals(offset=Py_ssize_t, following=Py_ssize_t, attribute=int, length=int)
cpdef int find_username(const unsigned char *data, Py_ssize_t size) noexcept nogil

cpdef int check_username(const unsigned char *data, Py_ssize_t offset, int length) noexcept nogil
