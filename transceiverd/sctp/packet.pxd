# cython: language_level=3
# Types for packet.py when it is compiled; what each function does stands there.

import cython
from transceiverd.sctp.checksum cimport packet_checksum
from transceiverd.sctp.chunks cimport Data, Sack, new_data, new_sack


cdef class Packet:
    cdef public unsigned int source_port
    cdef public unsigned int destination_port
    cdef public unsigned int tag
    cdef public list chunks


@cython.locals(size=Py_ssize_t, checksum=cython.uint, packet=Packet)
cpdef Packet parse_packet(bytes data, bint zero_checksum=*)
@cython.locals(size=Py_ssize_t, length=Py_ssize_t)
cpdef list parse_chunks(bytes data, Py_ssize_t position)
@cython.locals(kind=cython.int)
cdef object parse_chunk(bytes data, Py_ssize_t start, Py_ssize_t end)
cdef Data read_data(bytes data, Py_ssize_t start, Py_ssize_t end)
@cython.locals(flags=cython.int, last=cython.uint)
cdef Data read_i_data(bytes data, Py_ssize_t start, Py_ssize_t end)
@cython.locals(blocks=Py_ssize_t, repeats=Py_ssize_t, position=Py_ssize_t)
cdef Sack read_sack(bytes data, Py_ssize_t start, Py_ssize_t end)
cdef object read_control(int kind, int flags, bytes value)
cdef bytes of_size(bytes value, Py_ssize_t size)
cpdef object read_init(int kind, bytes value)
cpdef object parse_init(bytes data)
@cython.locals(at=Py_ssize_t, each=Py_ssize_t, interleaved=cython.bint)
cpdef object read_forward_tsn(int kind, bytes value)
@cython.locals(size=Py_ssize_t, length=Py_ssize_t)
cpdef tuple parse_parameters(bytes value, Py_ssize_t position=*)
@cython.locals(head=bytes, packet=bytes)
cpdef bytes serialize_packet(unsigned int source_port, unsigned int destination_port, unsigned int tag, list chunks, bint zero_checksum=*)

cdef unsigned int u16(bytes data, Py_ssize_t at) noexcept
cdef unsigned int u32(bytes data, Py_ssize_t at) noexcept
cdef unsigned int u32_little(bytes data, Py_ssize_t at) noexcept
