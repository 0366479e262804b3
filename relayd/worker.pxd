# cython: language_level=3
# The packet loop of one CPU. Described in worker.pyx; for Python in worker.pyi.
from relayd.check_gate cimport CheckGate
from relayd.keyring cimport Keyring
from relayd.lane_ends cimport LaneEnds
from relayd.loop cimport packet_loop
from shm.segment cimport Segment


cdef class Worker:
    cdef readonly int index
    cdef packet_loop loop
    cdef Keyring keyring
    cdef CheckGate gate
    cdef LaneEnds lanes
    cdef Segment flow_segment
    cdef Segment counter_segment
    cdef bint took_over
