# cython: language_level=3, boundscheck=False, wraparound=False
"""The bytes of what nearly every packet holds: the common header, DATA, I-DATA, SACK (RFC 9260 3, RFC 8260 2.1).

Called for every packet that leaves; each function makes its bytes in one go. A packet of a slow transfer finds the
processor's caches full of other things, so what counts is how little code and how few objects it needs. `struct` is
the oracle (tests/sctp/test_writing.py).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from transceiverd.sctp.checksum cimport packet_checksum

DEF COMMON_HEADER = 12
DEF SACK_HEADER = 16


cdef inline void put16(uint8_t *at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t>(value >> 8)
    at[1] = <uint8_t>value


cdef inline void put32(uint8_t *at, uint32_t value) noexcept nogil:
    put16(at, value >> 16)
    put16(at + 2, value)


cdef inline bytes new_chunk(
    uint8_t kind, uint32_t header, uint32_t flags, uint32_t tsn, uint32_t stream_id, bytes data, Py_ssize_t offset, Py_ssize_t size
):
    """DATA or I-DATA with `size` bytes of `data` from `offset` on, padded; what is left of its `header` is the caller's."""
    assert 0 <= offset and 0 <= size <= 0xFFFF - header and offset + size <= PyBytes_GET_SIZE(data)
    cdef Py_ssize_t padded = (size + 3) & ~3
    cdef bytes chunk = PyBytes_FromStringAndSize(NULL, header + padded)
    cdef uint8_t *at = <uint8_t *>PyBytes_AS_STRING(chunk)
    at[0] = kind
    at[1] = <uint8_t>flags
    put16(at + 2, header + <uint32_t>size)
    put32(at + 4, tsn)
    put16(at + 8, stream_id)
    memcpy(at + header, PyBytes_AS_STRING(data) + offset, size)
    memset(at + header + size, 0, padded - size)
    return chunk


cpdef bytes data_chunk(
    uint32_t flags, uint32_t tsn, uint32_t stream_id, uint32_t sequence, uint32_t ppid, bytes data, Py_ssize_t offset, Py_ssize_t size
):
    """DATA with `size` bytes of `data` from `offset` on, padded."""
    cdef bytes chunk = new_chunk(0, 16, flags, tsn, stream_id, data, offset, size)
    cdef uint8_t *at = <uint8_t *>PyBytes_AS_STRING(chunk)
    put16(at + 10, sequence)
    put32(at + 12, ppid)
    return chunk


cpdef bytes i_data_chunk(
    uint32_t flags, uint32_t tsn, uint32_t stream_id, uint32_t identifier, uint32_t last, bytes data, Py_ssize_t offset, Py_ssize_t size
):
    """I-DATA likewise; `last` is PPID or fragment number."""
    cdef bytes chunk = new_chunk(64, 20, flags, tsn, stream_id, data, offset, size)
    cdef uint8_t *at = <uint8_t *>PyBytes_AS_STRING(chunk)
    put16(at + 10, 0)
    put32(at + 12, identifier)
    put32(at + 16, last)
    return chunk


cpdef bytes sack_chunk(long long cumulative, uint32_t window, list gaps, list duplicates):
    """SACK. `gaps`: flat first, last, first, last... as TSNs above `cumulative`; those too far to be said are left out."""
    cdef Py_ssize_t edges = len(gaps) & ~1, repeats = len(duplicates), index
    while edges and <long long>gaps[edges - 1] - cumulative > 0xFFFF:
        edges -= 2
    cdef Py_ssize_t size = SACK_HEADER + 2 * edges + 4 * repeats
    cdef bytes chunk = PyBytes_FromStringAndSize(NULL, size)
    cdef uint8_t *at = <uint8_t *>PyBytes_AS_STRING(chunk)
    at[0] = 3
    at[1] = 0
    put16(at + 2, <uint32_t>size)
    put32(at + 4, <uint32_t>cumulative)
    put32(at + 8, window)
    put16(at + 12, <uint32_t>(edges >> 1))
    put16(at + 14, <uint32_t>repeats)
    at += SACK_HEADER
    for index in range(edges):
        put16(at, <uint32_t>(<long long>gaps[index] - cumulative))
        at += 2
    for index in range(repeats):
        put32(at, duplicates[index])
        at += 4
    return chunk


cpdef bytes packet(uint32_t source_port, uint32_t destination_port, uint32_t tag, list chunks, bint zero_checksum):
    """A packet of chunks that are already bytes, each padded."""
    cdef Py_ssize_t size = COMMON_HEADER
    cdef bytes chunk
    for chunk in chunks:
        size += PyBytes_GET_SIZE(chunk)
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, size)
    cdef uint8_t *start = <uint8_t *>PyBytes_AS_STRING(whole)
    cdef uint8_t *at = start + COMMON_HEADER
    put16(start, source_port)
    put16(start + 2, destination_port)
    put32(start + 4, tag)
    memset(start + 8, 0, 4)
    for chunk in chunks:
        memcpy(at, PyBytes_AS_STRING(chunk), PyBytes_GET_SIZE(chunk))
        at += PyBytes_GET_SIZE(chunk)
    cdef uint32_t checksum
    if not zero_checksum:
        checksum = packet_checksum(whole)  # lowest byte first (RFC 9260 appendix A)
        start[8] = <uint8_t>checksum
        start[9] = <uint8_t>(checksum >> 8)
        start[10] = <uint8_t>(checksum >> 16)
        start[11] = <uint8_t>(checksum >> 24)
    return whole
