# cython: language_level=3
# Types for tracker.py when it is compiled; what each thing means stands there.

import cython
from transceiverd.sctp.writing cimport sack_chunk


cdef class TsnTracker:
    cdef public long long cumulative   # every TSN up to it has come
    cdef public list gaps              # first, last, first, last, ...
    cdef public list duplicates        # 32-bit TSNs

    @cython.locals(place=Py_ssize_t, joins_before=cython.bint, joins_after=cython.bint)
    cpdef int judge(self, long long tsn) except -2
    @cython.locals(index=Py_ssize_t, gaps=list)
    cpdef Py_ssize_t place(self, long long tsn) except -1
    @cython.locals(place=Py_ssize_t, gaps=list, joins_before=cython.bint, joins_after=cython.bint)
    cpdef object mark(self, long long tsn)
    cpdef object forward(self, long long tsn)
    @cython.locals(gaps=list)
    cpdef object absorb(self)
    cpdef object repeat(self, long long tsn)
    @cython.locals(duplicates=list)
    cpdef bytes sack(self, unsigned int window)
