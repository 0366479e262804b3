# cython: language_level=3
# From a received datagram to a ring record. Described in inbound.pyx.
from libc.stdint cimport uint16_t, uint64_t

from relayd.check_gate cimport check_gate
from relayd.keyring cimport keyring
from relayd.lane_ends cimport lane_set
from relayd.receiver cimport receiver
from shm.flows cimport flow_table

cdef struct inbound:
    uint16_t worker         # our index
    uint16_t machine        # ours, as ufrags name it
    flow_table *flows
    lane_set *lanes
    keyring *keys
    check_gate *gate        # NULL: no bounds
    uint64_t *tally


# Routes every datagram of the batch at hand and counts one outcome for each. Committed, not yet published.
cdef void route_batch(inbound *way, receiver *socket, uint64_t now) noexcept nogil
