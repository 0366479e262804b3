# cython: language_level=3
# Types for transmission.py when it is compiled; what each thing means stands there.

import cython
from transceiverd.sctp.chunks cimport Sack
from transceiverd.sctp.congestion cimport CongestionWindow
from transceiverd.sctp.outbound cimport OutboundMessage, SendQueue
from transceiverd.sctp.outstanding cimport Outstanding, SentChunk
from transceiverd.sctp.rto cimport RetransmissionTimeout
from transceiverd.sctp.writing cimport data_chunk, i_data_chunk


cdef class Transmission:
    cdef public Outstanding outstanding
    cdef public SendQueue queue
    cdef public CongestionWindow window
    cdef public RetransmissionTimeout rto
    cdef public long long advanced         # Advanced.Peer.Ack.Point
    cdef public long long buffered         # bytes; cost of all messages held
    cdef public long long peer_window      # bytes; a_rwnd of the last SACK
    cdef public long long t3               # ns; 0: not running
    cdef public long long forward_sent_at  # ns
    cdef public long long last_sent        # ns
    cdef public long long flight_before    # bytes
    cdef public int mtu                    # bytes
    cdef public int header_size            # bytes before the user data of a chunk
    cdef public int burst                  # packets
    cdef public int allowance              # packets that may still leave
    cdef public int errors                 # T3 in a row
    cdef public int errors_max
    cdef public bint interleaved
    cdef public bint partial
    cdef public bint forward_due
    cdef public bint recover
    cdef public bint answered

    cpdef bint may_send(self)
    cpdef object push(self, OutboundMessage message)
    @cython.locals(outstanding=Outstanding, before=cython.longlong, size=cython.longlong, rtt=cython.longlong)
    cpdef object on_sack(self, Sack sack, long long now)
    @cython.locals(count=Py_ssize_t)
    cpdef object fill(self, list parts, int room, long long now)
    @cython.locals(outstanding=Outstanding, chunk=SentChunk, index=Py_ssize_t, needed=cython.int)
    cpdef int resend(self, list parts, int room, long long now) except -1
    @cython.locals(outstanding=Outstanding, chunk=SentChunk, message=OutboundMessage, size=cython.int)
    cpdef object send_new(self, list parts, int room, long long now)
    @cython.locals(remaining=cython.longlong, whole=cython.int)
    cpdef int fragment_size(self, OutboundMessage message, int room) except -2
    @cython.locals(message=OutboundMessage, flags=cython.int, tsn=cython.uint, sequence=cython.uint, last=cython.uint, data=bytes, offset=Py_ssize_t, size=Py_ssize_t)
    cpdef bytes serialize(self, SentChunk chunk)
    @cython.locals(outstanding=Outstanding, chunk=SentChunk, index=Py_ssize_t)
    cpdef object give_up_lost(self, long long now)
    @cython.locals(outstanding=Outstanding, chunk=SentChunk, index=Py_ssize_t, point=cython.longlong)
    cpdef object advance(self, long long now)
