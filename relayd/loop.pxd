# cython: language_level=3
# What the packet loop of one worker works on, a private struct of its process. Used by worker.pyx and waiting.pyx.
from libc.stdint cimport uint64_t

from relayd.inbound cimport inbound
from relayd.outbound cimport outbound
from relayd.receiver cimport receiver
from relayd.transmitter cimport transmitter
from shm.counters cimport counters
from shm.flows cimport flow_table

cdef enum:
    TALLIES = 128                   # at least COUNTERS; checked when the module is loaded

cdef struct packet_loop:
    int epoll
    bint told_to_return             # the control descriptor is readable
    unsigned int batch
    unsigned int unpolled           # packets handled since epoll was last asked
    receiver receivers[2]           # IPv4, IPv6
    transmitter transmitters[2]
    inbound way_in
    outbound way_out
    flow_table flows
    counters counted
    uint64_t tally[TALLIES]         # of the batch in work, booked at its end
