# The ufrag keys as the worker verifies under them, without the GIL. Described in keyring.pyx.
from libc.stdint cimport uint8_t, uint64_t

# Minus the place of a verdict in keyring.REASONS.
cdef enum verdict:
    UFRAG_CHARACTER = -1
    UFRAG_VERSION = -2
    UFRAG_KEY = -3
    UFRAG_TAG = -4


cdef struct keyring:
    void *contexts[4]   # HMAC_CTX, keyed, by key id; NULL: the id does not verify


# 0 and the call's origin when the 30 characters at `text` verify, else a verdict. Allocates nothing.
cdef int verify_ufrag(keyring *keys, const uint8_t *text, uint64_t *origin) noexcept nogil


cdef class Keyring:
    cdef keyring native   # whoever takes its address keeps the Keyring
