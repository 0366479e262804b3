# cython: language_level=3
# Types for chunks.py when it is compiled; what each thing means stands there.

import cython


cdef class Data:
    cdef public unsigned int tsn
    cdef public unsigned int stream_id
    cdef public unsigned int sequence    # stream sequence number, or message identifier
    cdef public unsigned int ppid
    cdef public unsigned int fragment    # I-DATA: number within the message
    cdef public int flags
    cdef public bint begins              # FLAG_BEGIN, and so on
    cdef public bint ends
    cdef public bint unordered
    cdef public bint immediate
    cdef public bint interleaved
    cdef public bytes payload

    cpdef tuple fields(self)
    cpdef bytes serialize(self)


cdef class Sack:
    cdef public unsigned int cumulative
    cdef public unsigned int window
    cdef public tuple gaps               # start, end, start, end, ...
    cdef public tuple duplicates

    cpdef tuple fields(self)
    cpdef bytes serialize(self)


cpdef bytes data_header(int flags, unsigned int size, unsigned int tsn, unsigned int stream_id, unsigned int sequence, unsigned int ppid)
cpdef bytes i_data_header(int flags, unsigned int size, unsigned int tsn, unsigned int stream_id, unsigned int identifier, unsigned int last)
@cython.locals(chunk=Data)
cpdef Data new_data(unsigned int tsn, unsigned int stream_id, unsigned int sequence, unsigned int ppid, bytes payload, int flags, unsigned int fragment, bint interleaved)
@cython.locals(chunk=Sack)
cpdef Sack new_sack(unsigned int cumulative, unsigned int window, tuple gaps, tuple duplicates)
