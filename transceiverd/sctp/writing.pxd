# cython: language_level=3
# What writing.pyx offers to the other modules when they are compiled.

from libc.stdint cimport uint32_t


cpdef bytes data_chunk(uint32_t flags, uint32_t tsn, uint32_t stream_id, uint32_t sequence, uint32_t ppid, bytes data, Py_ssize_t offset, Py_ssize_t size)
cpdef bytes i_data_chunk(uint32_t flags, uint32_t tsn, uint32_t stream_id, uint32_t identifier, uint32_t last, bytes data, Py_ssize_t offset, Py_ssize_t size)
cpdef bytes sack_chunk(long long cumulative, uint32_t window, list gaps, list duplicates)
cpdef bytes packet(uint32_t source_port, uint32_t destination_port, uint32_t tag, list chunks, bint zero_checksum)
