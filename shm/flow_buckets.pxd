# cython: language_level=3
"""Where the entry of a key is: SipHash-1-3 of its 48 bytes, then two candidate buckets. Called by flows.pyx only.

Strangers choose the keys, so the hash has a random key of its own and they cannot make buckets overflow; they never
see a hash, so 1 and 3 rounds are enough. Two candidates and "the emptier one" keep buckets even: with a single one of
8 entries 1 in 20 new flows would be refused at half load, with two none in a million. An entry never moves between
them.
"""
from libc.stdint cimport uint64_t
from libc.string cimport memcmp

from shm.flows cimport flow_table
from shm.layout cimport RINGLINE_FLOW_BUCKET, flow_entry, flow_key


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
    """Aumasson, Bernstein, "SipHash: a fast short-input PRF", 2012; 48 bytes are six words and no tail."""
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


cdef inline flow_entry *bucket_of(flow_table *table, uint64_t hash_value, int choice) noexcept nogil:
    """Of choice 0 or 1, by the low and the high half of the hash; they may be the same bucket."""
    return &table.entries[((hash_value >> (32 * choice)) & table.mask) * RINGLINE_FLOW_BUCKET]


cdef inline flow_entry *find(flow_table *table, const flow_key *key, uint64_t hash_value) noexcept nogil:
    cdef flow_entry *entry
    cdef int choice, i
    for choice in range(2):
        entry = bucket_of(table, hash_value, choice)
        for i in range(RINGLINE_FLOW_BUCKET):
            if entry.valid != 0 and entry.hash == hash_value and memcmp(&entry.key, key, sizeof(flow_key)) == 0:
                return entry
            entry += 1
    return NULL


cdef inline flow_entry *free_place(flow_entry *bucket, int *in_use) noexcept nogil:
    """The first free place of a bucket, or NULL, and how many are not free."""
    cdef flow_entry *place = NULL
    cdef int i
    in_use[0] = RINGLINE_FLOW_BUCKET
    for i in range(RINGLINE_FLOW_BUCKET - 1, -1, -1):
        if bucket[i].valid == 0:
            place = &bucket[i]
            in_use[0] -= 1
    return place
