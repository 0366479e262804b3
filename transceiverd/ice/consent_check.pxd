# A consent check of an established call, judged and answered without an object. Described in consent_check.pyx.
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    CHECK_BYTES_MAX = 548      # the largest request that is looked at; larger ones are the agent's (RFC 8489 6.1)
    ANSWER_BYTES_MAX = 100     # the larger answer, to an IPv6 address, has 92

# What a request that passed says; pointers go into the request.
cdef struct consent_check:
    const uint8_t *transaction_id  # 12 bytes
    bint use_candidate
    uint32_t priority              # 0: none


# True: a Binding request that the agent would answer with success as far as its bytes tell: `username` is the whole
# USERNAME, `key` the password its MESSAGE-INTEGRITY was made with. False: anything else, also what is only unusual.
cdef bint consent_check_read(
    consent_check *check, const uint8_t *data, uint32_t size, const uint8_t *username, uint32_t username_size,
    const uint8_t *key, uint32_t key_size,
) noexcept

# The success answer to the request judged last, under its key; `address` is a flow key's client side, 16 bytes. Gives
# its size, 0 when OpenSSL fails.
cdef uint32_t consent_check_answer(
    uint8_t *answer, const uint8_t *transaction_id, const uint8_t *address, uint32_t port,
) noexcept
