# cython: language_level=3
# The packet loop of one CPU. Described in worker.pyx; for Python in worker.pyi.
from libc.stdint cimport uint64_t

from relayd.check_gate cimport CheckGate
from relayd.inbound cimport inbound
from relayd.keyring cimport Keyring
from relayd.lane_ends cimport LaneEnds
from relayd.outbound cimport outbound
from relayd.receiver cimport receiver
from relayd.transmitter cimport transmitter
from shm.counters cimport counters
from shm.flows cimport flow_table
from shm.segment cimport Segment

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


cdef class Worker:
    cdef readonly int index
    cdef packet_loop loop
    cdef Keyring keyring
    cdef CheckGate gate
    cdef LaneEnds lanes
    cdef Segment flow_segment
    cdef Segment counter_segment
    cdef bint took_over
