# cython: language_level=3
"""SipHash-1-3 (Aumasson, Bernstein, "SipHash: a fast short-input PRF", 2012) of exactly 48 bytes: a flow key.

Called by flows.pyx for each packet that needs the flow table. 48 bytes are six words and no tail.
"""
from libc.stdint cimport uint64_t


cdef inline uint64_t rotate(uint64_t value, int bits) noexcept nogil:
    return (value << bits) | (value >> (64 - bits))


cdef inline void sip_round(uint64_t *v) noexcept nogil:
    v[0] += v[1]
    v[1] = rotate(v[1], 13) ^ v[0]
    v[0] = rotate(v[0], 32)
    v[2] += v[3]
    v[3] = rotate(v[3], 16) ^ v[2]
    v[0] += v[3]
    v[3] = rotate(v[3], 21) ^ v[0]
    v[2] += v[1]
    v[1] = rotate(v[1], 17) ^ v[2]
    v[2] = rotate(v[2], 32)


cdef inline uint64_t siphash13_48(const uint64_t *key, const uint64_t *words) noexcept nogil:
    cdef uint64_t v[4]
    cdef int i
    v[0] = key[0] ^ 0x736f6d6570736575ULL
    v[1] = key[1] ^ 0x646f72616e646f6dULL
    v[2] = key[0] ^ 0x6c7967656e657261ULL
    v[3] = key[1] ^ 0x7465646279746573ULL
    for i in range(6):
        v[3] ^= words[i]
        sip_round(v)
        v[0] ^= words[i]
    v[3] ^= <uint64_t>48 << 56
    sip_round(v)
    v[0] ^= <uint64_t>48 << 56
    v[2] ^= 0xff
    for i in range(3):
        sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]
