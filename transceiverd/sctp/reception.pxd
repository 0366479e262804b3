# cython: language_level=3
# Types for reception.py when it is compiled; what each thing means stands there.

import cython
from transceiverd.sctp.chunks cimport Data
from transceiverd.sctp.reassembly cimport Reassembly
from transceiverd.sctp.serial cimport unwrap32
from transceiverd.sctp.tracker cimport TsnTracker


cdef class Reception:
    cdef public TsnTracker tracker
    cdef public Reassembly reassembly
    cdef public long long capacity       # bytes
    cdef public long long extension      # of it, for incomplete interleaved messages
    cdef public long long allowance      # what the owner lets us hold
    cdef public bint starved             # by the allowance
    cdef public long long unfetched      # cost of messages that wait for the application
    cdef public long long announced      # the window in our last SACK
    cdef public long long sack_deadline  # ns
    cdef public long long sack_delay     # ns
    cdef public int packets              # with DATA, since the last SACK
    cdef public int sack_wanted          # NOTHING, DELAYED, AT_ONCE
    cdef public bint interleaved         # I-DATA, not DATA

    cpdef long long window(self)
    cpdef long long own_room(self)
    cpdef long long shared_room(self)
    @cython.locals(tracker=TsnTracker, tsn=cython.longlong, verdict=cython.int)
    cpdef object take(self, Data chunk)
    cpdef bint knows(self, unsigned int stream_id)
    @cython.locals(needed=cython.longlong, is_next=cython.bint)
    cpdef object require_room(self, Data chunk, long long tsn)
    cpdef object end_packet(self, bint had_data, long long now)
    cpdef object reopen(self)
    cpdef object fetched(self, long long size)
    cpdef bytes sack(self)
