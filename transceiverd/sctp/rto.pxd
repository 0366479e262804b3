# cython: language_level=3
# Types for rto.py when it is compiled; what each thing means stands there.

import cython


cdef class RetransmissionTimeout:
    cdef public long long value        # ns; the RTO now
    cdef public long long initial      # ns
    cdef public long long minimum      # ns
    cdef public long long maximum      # ns
    cdef public long long round_trip   # ns; SRTT, 0 until measured
    cdef public long long variation    # ns; RTTVAR

    cpdef object measure(self, long long rtt)
    @cython.locals(wanted=cython.longlong)
    cpdef object recover(self)
    cpdef object back_off(self)
