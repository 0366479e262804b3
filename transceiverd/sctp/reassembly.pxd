# cython: language_level=3
# Types for reassembly.py when it is compiled; what each thing means stands there.

import cython
from transceiverd.sctp.chunks cimport Data
from transceiverd.sctp.serial cimport unwrap16, unwrap32


cdef class Run:
    cdef public long long first     # position of the first fragment
    cdef public long long last      # position of the last fragment
    cdef public bint begins         # has the message's first fragment
    cdef public bint ends           # has its last
    cdef public unsigned int ppid
    cdef public list parts          # user data, in order
    cdef public long long size      # bytes of it

    cpdef object extend(self, Data chunk)
    cpdef object join(self, Run other)
    cpdef long long cost(self)


cdef class InboundStream:
    cdef public long long next      # sequence number next in order
    cdef public dict runs           # key -> [Run], or None
    cdef public dict ready          # sequence -> (PPID, data), or None


cdef class Reassembly:
    cdef public long long max_message   # bytes
    cdef public long long streams_max
    cdef public long long held          # cost of what waits
    cdef public dict streams            # id -> InboundStream
    cdef public list messages           # (id, PPID, data), complete

    @cython.locals(stream=InboundStream, unordered=cython.bint, sequence=cython.longlong, key=cython.longlong)
    cpdef bint add(self, Data chunk, long long tsn) except -1
    cpdef long long sequence(self, InboundStream stream, Data chunk, bint unordered)
    @cython.locals(runs=list, run=Run, earlier=Run, later=Run, index=Py_ssize_t)
    cpdef object insert(self, InboundStream stream, Data chunk, long long key, long long sequence, long long position)
    cpdef bint follows(self, Run run, Run later)
    @cython.locals(run=Run, earlier=Run)
    cpdef object judge(self, InboundStream stream, Data chunk, long long key, long long sequence, list runs, Py_ssize_t index)
    cpdef object complete(self, InboundStream stream, unsigned int stream_id, long long sequence, bint unordered, unsigned int ppid, bytes data)
    cpdef object deliver_ready(self, InboundStream stream, unsigned int stream_id)
