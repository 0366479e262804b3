# cython: language_level=3
# Types for congestion.py when it is compiled; what each thing means stands there.


cdef class CongestionWindow:
    cdef public long long size           # bytes; cwnd
    cdef public long long threshold      # bytes; ssthresh
    cdef public long long acknowledged   # bytes; partial_bytes_acked
    cdef public long long initial        # bytes
    cdef public long long recovery_exit  # TSN, or -1
    cdef public long long mtu            # bytes

    cpdef object on_acknowledged(self, long long count, long long flight_before, long long cumulative)
    cpdef bint on_loss(self, long long highest_outstanding)
    cpdef object on_timeout(self)
    cpdef object on_idle(self)
