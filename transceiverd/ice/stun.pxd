# cython: language_level=3
# Types for stun.py when it is compiled; what each function does stands there.

import cython


cdef class Message:
    cdef public int message_class          # REQUEST, INDICATION, SUCCESS or ERROR
    cdef public bytes transaction_id       # 12 bytes
    cdef public bytes username             # None: no USERNAME
    cdef public object priority            # int or None
    cdef public bint use_candidate
    cdef public object controlling         # tie-breaker of ICE-CONTROLLING, or None
    cdef public object controlled          # tie-breaker of ICE-CONTROLLED, or None
    cdef public object xor_mapped_address  # (16 bytes, port) or None
    cdef public object error_code          # int or None
    cdef public bytes error_reason
    cdef public tuple others               # ((type, value), ...)
    cdef public bytes integrity            # 20 bytes, or None
    cdef public bytes integrity_sha256     # 32 bytes, or None
    cdef public bint fingerprint
    cdef public bytes _data                # the whole message as read
    cdef public Py_ssize_t _integrity_at   # where MESSAGE-INTEGRITY starts in _data
    cdef public Py_ssize_t _integrity_sha256_at

    cpdef tuple fields(self)
    cpdef list unknown_required(self)
    cpdef bint has_integrity(self)
    cpdef bint verify(self, bytes key)
    cpdef bytes serialize(self, bytes key=*, bint sha256=*)
    cdef bytes _body(self)


@cython.locals(size=Py_ssize_t, length=Py_ssize_t, kind=cython.uint, message=Message)
cpdef Message parse(bytes data)
@cython.locals(position=Py_ssize_t, length=Py_ssize_t, start=Py_ssize_t, kind=cython.uint)
cdef bint read_attributes(Message message, bytes data, Py_ssize_t size) except -1
cdef bint read_field(Message message, unsigned int kind, bytes data, Py_ssize_t start, Py_ssize_t length) except -1
cdef bint check_fingerprint(bytes data, Py_ssize_t start, Py_ssize_t length, bint last) except -1
@cython.locals(hundreds=cython.int, number=cython.int)
cdef int read_error_code(bytes data, Py_ssize_t start, Py_ssize_t length) except -1
@cython.locals(family=cython.int, port=cython.uint, address=bytes)
cdef tuple read_xor_address(bytes data, Py_ssize_t start, Py_ssize_t length, bytes transaction_id)
cdef bint require(bint condition) except -1

cdef unsigned int u16(bytes data, Py_ssize_t at)
cdef unsigned int u32(bytes data, Py_ssize_t at)
@cython.locals(high=cython.ulonglong, low=cython.ulonglong)
cdef unsigned long long u64(bytes data, Py_ssize_t at)
cdef bytes xor(bytes data, bytes pad)

cpdef bytes header(int message_class, bytes transaction_id)
cpdef bytes attribute(int kind, bytes value)
cpdef bytes error_value(int code)
cpdef bytes xor_address(bytes address, unsigned int port, bytes transaction_id)
cpdef bytes with_length(bytes data, Py_ssize_t size)
cpdef bytes integrity_sha1(bytes key, bytes data)
cpdef bytes integrity_sha256(bytes key, bytes data)
cpdef bytes seal_sha1(bytes key, bytes data)
cpdef bytes seal_sha256(bytes key, bytes data)
cpdef bytes seal_fingerprint(bytes data)
