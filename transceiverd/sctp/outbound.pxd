# cython: language_level=3
# Types for outbound.py when it is compiled; what each thing means stands there.

import cython


cdef class OutboundMessage:
    cdef public bytes data
    cdef public long long sequence         # SSN or MID, unwrapped; -1 until the first fragment is cut
    cdef public long long max_retransmits  # -1: no limit
    cdef public long long expires_at       # ns; 0: never
    cdef public long long sent             # bytes cut
    cdef public unsigned int ppid
    cdef public unsigned int stream_id
    cdef public unsigned int fragments     # cut
    cdef public bint unordered
    cdef public bint abandoned

    cpdef long long cost(self)


cdef class OutboundStream:
    cdef public unsigned int stream_id
    cdef public long long priority         # weight, 1 to 65535
    cdef public long long low_threshold    # bytes; -1: nobody asked
    cdef public long long waiting          # bytes not yet cut
    cdef public long long turn             # virtual time
    cdef public long long next_ordered     # SSN, or MID of ordered messages
    cdef public long long next_unordered   # MID of unordered messages
    cdef public list queue                 # OutboundMessage, first is next

    cpdef object assign(self, OutboundMessage message, bint interleaved)
    cpdef object restart(self)


cdef class SendQueue:
    cdef public dict streams               # id -> OutboundStream
    cdef public list active                # streams with a queue
    cdef public OutboundStream current     # whose message is half sent (DATA only)
    cdef public bint interleaved
    cdef public long long clock            # virtual time
    cdef public list low                   # ids of streams that fell to their threshold

    cpdef object push(self, OutboundStream stream, OutboundMessage message)
    @cython.locals(stream=OutboundStream)
    cpdef OutboundMessage peek(self)
    @cython.locals(stream=OutboundStream, best=OutboundStream)
    cpdef OutboundStream choose(self)
    @cython.locals(stream=OutboundStream)
    cpdef bint cut(self, OutboundMessage message, long long size) except -1
    cpdef object finish(self, OutboundStream stream)
    @cython.locals(stream=OutboundStream)
    cpdef object drop(self, OutboundMessage message)
    cpdef object waited(self, OutboundStream stream, long long size)
