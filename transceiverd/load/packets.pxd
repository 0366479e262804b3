# cython: language_level=3
"""The packet path of the load generator: its calls, its inbox."""
from libc.stdint cimport uint8_t, uint32_t

from transceiverd.load.batches cimport endpoint
from transceiverd.load.stream cimport PACKET_MAX, stream

cdef enum:
    INBOX_MAX = 4096             # STUN and DTLS datagrams that wait for the control thread
    EVENTS_MAX = 256             # sockets looked after in a turn

cdef struct caller:
    bint in_use
    bint talking
    uint32_t next                # in its wheel slot: place and one; 0: the last
    uint32_t slot
    endpoint end
    stream audio

cdef struct letter:              # a datagram for the control thread
    uint32_t place
    uint32_t size
    uint8_t data[PACKET_MAX]
