# cython: language_level=3
# From the records of the out rings to flow table and sendmmsg. Described in outbound.pyx.
from libc.stdint cimport uint64_t

from relayd.lane_ends cimport lane_set
from relayd.transmitter cimport transmitter
from shm.flows cimport flow_table

cdef struct outbound:
    flow_table *flows
    lane_set *lanes
    transmitter *v4
    transmitter *v6
    unsigned int batch      # records at a time, of which control may take half; each transmitter has room for all
    unsigned int odd        # 0 and 1 in turn: who gets the odd record of a batch
    uint64_t *tally


# Applies and gathers one batch of records from all lanes. Gives how many were taken. Then: send_batch on both
# transmitters, release_drained, book the tally.
cdef unsigned int take_batch(outbound *way, uint64_t now) noexcept nogil

# The batch was applied and sent: its place in the rings may be written again.
cdef void release_drained(outbound *way) noexcept nogil
