# cython: language_level=3
"""The packet path of the load generator: its calls."""
from libc.stdint cimport uint32_t

from transceiverd.load.batches cimport endpoint
from transceiverd.load.stream cimport stream

cdef enum:
    EVENTS_MAX = 256             # sockets looked after in a turn

cdef struct caller:
    bint in_use
    endpoint end
    stream audio
