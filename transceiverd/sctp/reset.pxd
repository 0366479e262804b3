# cython: language_level=3
# Types for reset.py when it is compiled; what each thing means stands there.


cdef class StreamReset:
    cdef public long long next_number
    cdef public long long expected
    cdef public list waiting            # stream ids
    cdef public object request          # Request, or None
    cdef public object deferred         # Request, or None
    cdef public int last_result
    cdef public long long deadline      # ns; 0: none
    cdef public int failures
