# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A consent check of an established call, judged and answered without an object (RFC 7675, RFC 8489).

A call that only lives on sends a Binding request every few seconds, always the same but for its transaction: at 10,000
calls 4,000 a second. Called by `transceiverd/consent_lane.pyx`, which knows the call; everything it declines goes to the
agent (`agent.py`), which is the rule: what passes here, the agent would have answered with the same bytes
(`tests/ice/test_consent_check.py` holds the two against each other).

So it may be narrow where `stun.py` is complete. It declines: duplicates of attributes, attributes that need a thought
(ICE-CONTROLLED, comprehension-required ones without a meaning in a check), anything behind MESSAGE-INTEGRITY but
FINGERPRINT, MESSAGE-INTEGRITY-SHA256, and whatever is malformed or does not verify: counting and answering those is
the agent's.

HMAC-SHA1 is OpenSSL's, out of the copy that pylibsrtp carries and exports, as in the relay worker's key ring: one
context for all calls, keyed for the request and only set back for its answer. The control thread's alone.
"""
import ctypes

import pylibsrtp._binding

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy

cdef extern from *:
    """
    typedef void *(*hmac_new_function)(void);
    typedef int (*hmac_init_function)(void *context, const void *key, int length, const void *digest, void *engine);
    typedef int (*hmac_update_function)(void *context, const unsigned char *data, size_t size);
    typedef int (*hmac_final_function)(void *context, unsigned char *tag, unsigned int *size);
    typedef const void *(*digest_function)(void);
    """
    ctypedef void *(*hmac_new_function)() noexcept nogil
    ctypedef int (*hmac_init_function)(void *, const void *, int, const void *, void *) noexcept nogil
    ctypedef int (*hmac_update_function)(void *, const unsigned char *, size_t) noexcept nogil
    ctypedef int (*hmac_final_function)(void *, unsigned char *, unsigned int *) noexcept nogil
    ctypedef const void *(*digest_function)() noexcept nogil


cdef size_t address_of(object library, str name) except 0:
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value


_library = ctypes.CDLL(pylibsrtp._binding.__file__)
cdef hmac_init_function hmac_init = <hmac_init_function>address_of(_library, "HMAC_Init_ex")
cdef hmac_update_function hmac_update = <hmac_update_function>address_of(_library, "HMAC_Update")
cdef hmac_final_function hmac_final = <hmac_final_function>address_of(_library, "HMAC_Final")
cdef const void *SHA1 = (<digest_function>address_of(_library, "EVP_sha1"))()
cdef void *context = (<hmac_new_function>address_of(_library, "HMAC_CTX_new"))()
if context == NULL:
    raise MemoryError("HMAC_CTX_new")

# The wire (RFC 8489 5, 14; RFC 8445 16.1).
cdef enum:
    HEADER_SIZE = 20
    TRANSACTION_ID_SIZE = 12
    SHA1_SIZE = 20
    BINDING_REQUEST = 0x0001
    BINDING_SUCCESS = 0x0101
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A
    COMPREHENSION_OPTIONAL = 0x8000
    MAGIC_COOKIE = 0x2112A442
    FINGERPRINT_XOR = 0x5354554E
    CRC32 = 0xEDB88320          # of ISO 3309, as zlib has it, lowest bit first
    OTHERS_MAX = 32             # more, and the agent calls it malformed

# Which of the attributes that may come once were seen.
cdef enum:
    SEEN_USERNAME = 1
    SEEN_PRIORITY = 2
    SEEN_USE_CANDIDATE = 4
    SEEN_CONTROLLING = 8

cdef uint32_t[256] crc_table


cdef void fill_crc_table() noexcept:
    cdef uint32_t i, value
    cdef int bit
    for i in range(256):
        value = i
        for bit in range(8):
            value = (value >> 1) ^ (CRC32 if value & 1 else 0)
        crc_table[i] = value


fill_crc_table()


cdef uint32_t fingerprint_of(const uint8_t *data, uint32_t size) noexcept nogil:
    cdef uint32_t value = 0xFFFFFFFF, i
    for i in range(size):
        value = crc_table[(value ^ data[i]) & 0xFF] ^ (value >> 8)
    return ~value ^ <uint32_t>FINGERPRINT_XOR


cdef inline uint16_t u16(const uint8_t *data) noexcept nogil:
    return <uint16_t>((data[0] << 8) | data[1])


cdef inline uint32_t u32(const uint8_t *data) noexcept nogil:
    return (<uint32_t>u16(data) << 16) | u16(data + 2)


cdef inline void put_u16(uint8_t *data, uint32_t value) noexcept nogil:
    data[0] = (value >> 8) & 0xFF
    data[1] = value & 0xFF


cdef inline void put_u32(uint8_t *data, uint32_t value) noexcept nogil:
    put_u16(data, value >> 16)
    put_u16(data + 2, value)


cdef bint sign(const uint8_t *data, uint32_t size, const uint8_t *key, uint32_t key_size, uint8_t *tag) noexcept nogil:
    """HMAC-SHA1 over `size` bytes, as if the message ended behind MESSAGE-INTEGRITY (RFC 8489 14.5). `key` NULL: the
    same as before."""
    cdef uint8_t[4] start
    cdef unsigned int tag_size = 0
    memcpy(start, data, 4)
    put_u16(start + 2, size - HEADER_SIZE + 4 + SHA1_SIZE)
    return (
        hmac_init(context, key, <int>key_size, SHA1 if key != NULL else NULL, NULL) == 1
        and hmac_update(context, start, 4) == 1
        and hmac_update(context, data + 4, size - 4) == 1
        and hmac_final(context, tag, &tag_size) == 1
        and tag_size == SHA1_SIZE
    )


cdef bint equal(const uint8_t *left, const uint8_t *right, uint32_t size) noexcept nogil:
    """In the same time wherever they differ."""
    cdef uint8_t difference = 0
    cdef uint32_t i
    for i in range(size):
        difference |= left[i] ^ right[i]
    return difference == 0


cdef bint header_is_usual(const uint8_t *data, uint32_t size) noexcept nogil:
    return (
        HEADER_SIZE + 8 + 4 + SHA1_SIZE <= size <= CHECK_BYTES_MAX
        and u16(data) == BINDING_REQUEST
        and not size & 3
        and <uint32_t>u16(data + 2) + HEADER_SIZE == size
        and u32(data + 4) == MAGIC_COOKIE
    )


cdef uint32_t read_attributes(
    consent_check *check, const uint8_t *data, uint32_t end, const uint8_t *username, uint32_t username_size
) noexcept nogil:
    """All up to MESSAGE-INTEGRITY; gives its place, 0: declined. `end` is where the last 32 bytes begin."""
    cdef uint32_t position = HEADER_SIZE, kind, length, seen = 0, once, others = 0
    cdef const uint8_t *value
    while position < end:
        kind = u16(data + position)
        length = u16(data + position + 2)
        value = data + position + 4
        position += 4 + ((length + 3) & ~<uint32_t>3)
        if position > end:
            return 0
        once = 0
        if kind == USERNAME:
            once = SEEN_USERNAME
            if length != username_size or memcmp(value, username, username_size) != 0:
                return 0
        elif kind == PRIORITY:
            once = SEEN_PRIORITY
            if length != 4:
                return 0
            check.priority = u32(value)
        elif kind == USE_CANDIDATE:
            once = SEEN_USE_CANDIDATE
            if length != 0:
                return 0
            check.use_candidate = True
        elif kind == ICE_CONTROLLING:
            once = SEEN_CONTROLLING
            if length != 8:
                return 0
        elif kind < COMPREHENSION_OPTIONAL or kind == ICE_CONTROLLED or kind == FINGERPRINT or others == OTHERS_MAX:
            return 0
        else:
            others += 1
        if seen & once:
            return 0
        seen |= once
    return position if seen & SEEN_USERNAME else 0


cdef bint consent_check_read(
    consent_check *check, const uint8_t *data, uint32_t size, const uint8_t *username, uint32_t username_size,
    const uint8_t *key, uint32_t key_size,
) noexcept:
    cdef uint8_t[64] tag
    cdef uint32_t integrity, fingerprint
    if not header_is_usual(data, size):
        return False
    fingerprint = size - 8
    if u32(data + fingerprint) != ((<uint32_t>FINGERPRINT << 16) | 4):
        return False
    integrity = fingerprint - 4 - SHA1_SIZE
    if u32(data + integrity) != ((<uint32_t>MESSAGE_INTEGRITY << 16) | SHA1_SIZE):
        return False
    check.transaction_id = data + 8
    check.use_candidate = False
    check.priority = 0
    if read_attributes(check, data, integrity, username, username_size) != integrity:
        return False
    if u32(data + fingerprint + 4) != fingerprint_of(data, fingerprint):
        return False
    return sign(data, integrity, key, key_size, tag) and equal(tag, data + integrity + 4, SHA1_SIZE)


cdef uint32_t consent_check_answer(
    uint8_t *answer, const uint8_t *transaction_id, const uint8_t *address, uint32_t port,
) noexcept:
    cdef const uint8_t *mapped = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"
    cdef bint v4 = memcmp(address, mapped, 12) == 0
    cdef uint32_t length = 4 if v4 else 16, position, i
    cdef const uint8_t *shown = address + (12 if v4 else 0)
    put_u16(answer, BINDING_SUCCESS)
    put_u32(answer + 4, MAGIC_COOKIE)
    memcpy(answer + 8, transaction_id, TRANSACTION_ID_SIZE)
    put_u32(answer + 20, (<uint32_t>0x0020 << 16) | (4 + length))  # XOR-MAPPED-ADDRESS
    put_u16(answer + 24, 1 if v4 else 2)
    put_u16(answer + 26, port ^ (<uint32_t>MAGIC_COOKIE >> 16))
    for i in range(length):
        answer[28 + i] = shown[i] ^ answer[4 + i]  # the pad is the header's cookie and transaction
    position = 28 + length
    if not sign(answer, position, NULL, 0, answer + position + 4):
        return 0
    put_u32(answer + position, (<uint32_t>MESSAGE_INTEGRITY << 16) | SHA1_SIZE)
    position += 4 + SHA1_SIZE
    put_u16(answer + 2, position + 8 - HEADER_SIZE)
    put_u32(answer + position, (<uint32_t>FINGERPRINT << 16) | 4)
    put_u32(answer + position + 4, fingerprint_of(answer, position))
    return position + 8


def judge(bytes data not None, bytes username not None, bytes key not None, bytes source not None):
    """For tests: None when declined, else (answer to flow key `source`, USE-CANDIDATE, PRIORITY or 0)."""
    cdef consent_check check
    cdef uint8_t[ANSWER_BYTES_MAX] answer
    cdef uint32_t size
    if not consent_check_read(&check, data, len(data), username, len(username), key, len(key)):
        return None
    size = consent_check_answer(answer, check.transaction_id, source, source[32] | (source[33] << 8))
    return answer[:size], check.use_candidate, check.priority
