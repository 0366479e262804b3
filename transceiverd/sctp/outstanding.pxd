# cython: language_level=3
# Types for outstanding.py when it is compiled; what each thing means stands there.

import cython
from transceiverd.sctp.chunks cimport Sack
from transceiverd.sctp.outbound cimport OutboundMessage
from transceiverd.sctp.serial cimport unwrap32


cdef class SentChunk:
    cdef public long long tsn
    cdef public long long offset       # of its data in the message
    cdef public long long sent_at      # ns
    cdef public long long miss_after   # only reports of TSNs above it are misses
    cdef public int size               # bytes of user data
    cdef public int state              # IN_FLIGHT, LOST, ACKED, ABANDONED
    cdef public int transmissions
    cdef public int misses
    cdef public unsigned int fragment  # number within the message
    cdef public bint begins
    cdef public bint ends
    cdef public OutboundMessage message

    cpdef long long cost(self)


@cython.locals(chunk=SentChunk)
cpdef SentChunk new_chunk(long long tsn, OutboundMessage message, long long offset, int size, unsigned int fragment)


cdef class Outstanding:
    cdef public long long cumulative   # everything up to it is acknowledged
    cdef public long long next_tsn
    cdef public long long flight       # bytes
    cdef public long long timed        # TSN being timed, or -1
    cdef public long long timed_at     # ns
    cdef public long long newly        # bytes that the last SACK acknowledged
    cdef public long long released     # bytes of messages let go by it
    cdef public Py_ssize_t head        # index of the chunk with TSN cumulative + 1
    cdef public Py_ssize_t lost        # chunks LOST
    cdef public Py_ssize_t gap_acked   # chunks ACKED
    cdef public list chunks            # SentChunk, by TSN

    cpdef Py_ssize_t count(self)
    @cython.locals(chunk=SentChunk)
    cpdef SentChunk append(self, OutboundMessage message, int size, unsigned int fragment, long long now)
    @cython.locals(chunk=SentChunk)
    cpdef object append_end(self, OutboundMessage message, unsigned int fragment)
    @cython.locals(cumulative=cython.longlong, highest=cython.longlong)
    cpdef long long acknowledge(self, Sack sack, long long now) except -2
    @cython.locals(last=cython.longlong, index=Py_ssize_t, gaps=tuple)
    cpdef object require_sent(self, long long cumulative, Sack sack)
    @cython.locals(chunks=list, chunk=SentChunk, highest=cython.longlong)
    cpdef long long advance(self, long long cumulative) except -2
    cpdef object leave(self, SentChunk chunk)
    cpdef object release(self, SentChunk chunk)
    @cython.locals(chunk=SentChunk, highest=cython.longlong, offset=cython.longlong, index=Py_ssize_t, block=Py_ssize_t)
    cpdef long long mark_gaps(self, long long cumulative, tuple gaps) except -2
    cpdef object take_back(self, SentChunk chunk)
    @cython.locals(chunk=SentChunk, index=Py_ssize_t)
    cpdef object count_misses(self, long long highest)
    cpdef object lose(self, SentChunk chunk)
    cpdef object resent(self, SentChunk chunk, long long now)
