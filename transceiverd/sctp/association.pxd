# cython: language_level=3
# Types for association.py when it is compiled; what each thing means stands there.

import cython
from transceiverd.sctp.reception cimport Reception
from transceiverd.sctp.reset cimport StreamReset
from transceiverd.sctp.rto cimport RetransmissionTimeout
from transceiverd.sctp.transmission cimport Transmission


cdef class Association:
    cdef public object config
    cdef public object drops
    cdef public object random_bytes
    cdef public object local_init              # Init
    cdef public object remote_init             # Init, or None
    cdef public object features                # what the peer can do
    cdef public object state
    cdef public StreamReset reset              # None before the peer is known
    cdef public object remote_max_message_size
    cdef public Reception reception            # None before the peer is known
    cdef public Transmission transmission
    cdef public RetransmissionTimeout rto
    cdef public dict channels                  # stream id -> Channel
    cdef public list events
    cdef public list packets                   # whole, ready to leave
    cdef public list control                   # chunks for the next packets
    cdef public bytes cookie_key
    cdef public bytes cookie_echo
    cdef public bytes heartbeat_nonce
    cdef public long long now                  # ns; all times and deadlines are, 0: not running
    cdef public long long t1
    cdef public long long t2
    cdef public long long heartbeat_at
    cdef public long long heartbeat_sent_at
    cdef public int t1_count
    cdef public int t2_count
    cdef public unsigned int local_port
    cdef public unsigned int remote_port
    cdef public unsigned int peer_tag
    cdef public unsigned int local_tag
    cdef public long long room_at              # bytes
    cdef public unsigned int peer_streams
    cdef public int parity                     # of our stream ids
    cdef public bint has_local_init
    cdef public bint cookie_due
    cdef public bint refusals
    cdef public bint done
    cdef public bint zero_checksum             # the peer takes packets without
    cdef public bint carries_in
    cdef public bint carries_out

    cpdef Reception reception_now(self)
    cpdef object _tell_low(self)
    cpdef object _advance_clock(self, long long now)
