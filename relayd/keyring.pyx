# cython: language_level=3, boundscheck=False, wraparound=False
"""The ufrag keys in a form that the worker can verify under for every Binding request without the GIL.

Owned by the worker; made again from `UfragKeys` whenever the keys change. Implements HMAC-SHA-256 (RFC 2104) over a
ufrag's 116 bits as relayd/ufrag.py lays them out, by the OpenSSL that pylibsrtp's binding carries and exports: it is
in the process anyway, and its addresses are found with dlsym through ctypes, so nothing new is linked.

One keyed HMAC_CTX a key, set back for every tag: two compressions and no allocation (measured: 0.15 us and 0 malloc
against 1.4 us and 10 malloc for the one-shot HMAC()). A context belongs to one thread: a Keyring does, too.
"""
import ctypes

import pylibsrtp._binding

from libc.string cimport memcpy, memset

from relayd.ufrag cimport body_byte, decode_word, word_key_id, word_version, words_origin, words_tag

# Why a ufrag does not verify; the labels of the worker's counters.
REASONS = ("", "ufrag character", "ufrag version", "ufrag key", "ufrag tag")

cdef extern from *:
    """
    typedef void *(*hmac_ctx_new_function)(void);
    typedef void (*hmac_ctx_free_function)(void *context);
    typedef int (*hmac_init_ex_function)(void *context, const void *key, int length, const void *digest, void *engine);
    typedef int (*hmac_update_function)(void *context, const unsigned char *data, size_t size);
    typedef int (*hmac_final_function)(void *context, unsigned char *tag, unsigned int *size);
    typedef const void *(*evp_sha256_function)(void);
    """
    ctypedef void *(*hmac_ctx_new_function)() noexcept nogil
    ctypedef void (*hmac_ctx_free_function)(void *context) noexcept nogil
    ctypedef int (*hmac_init_ex_function)(void *, const void *, int, const void *, void *) noexcept nogil
    ctypedef int (*hmac_update_function)(void *, const unsigned char *, size_t) noexcept nogil
    ctypedef int (*hmac_final_function)(void *, unsigned char *, unsigned int *) noexcept nogil
    ctypedef const void *(*evp_sha256_function)() noexcept nogil

cdef size_t address_of(object library, str name) except 0:
    """Where the library has a function. AttributeError when it has none: then this pylibsrtp cannot be used."""
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value

_library = ctypes.CDLL(pylibsrtp._binding.__file__)
cdef hmac_ctx_new_function hmac_ctx_new = <hmac_ctx_new_function>address_of(_library, "HMAC_CTX_new")
cdef hmac_ctx_free_function hmac_ctx_free = <hmac_ctx_free_function>address_of(_library, "HMAC_CTX_free")
cdef hmac_init_ex_function hmac_init_ex = <hmac_init_ex_function>address_of(_library, "HMAC_Init_ex")
cdef hmac_update_function hmac_update = <hmac_update_function>address_of(_library, "HMAC_Update")
cdef hmac_final_function hmac_final = <hmac_final_function>address_of(_library, "HMAC_Final")
cdef evp_sha256_function evp_sha256 = <evp_sha256_function>address_of(_library, "EVP_sha256")

# Under the tag: the label, then 15 bytes of the ufrag.
cdef enum:
    LABEL_SIZE = 16
    BODY_SIZE = 15
cdef const unsigned char *LABEL = b"ringline-ufrag-1"


cdef class Keyring:
    """Verifies ufrags under the keys of one `UfragKeys`."""

    def __cinit__(self):
        memset(self.native.contexts, 0, sizeof(self.native.contexts))

    def __init__(self, keys):
        """One keyed context for every key. MemoryError when OpenSSL gives none."""
        cdef bytes secret
        cdef void *context
        cdef int key_id
        for key_id in keys.ids():
            secret = keys.secret(key_id)
            context = hmac_ctx_new()
            if context == NULL:
                raise MemoryError("HMAC_CTX_new")
            self.native.contexts[key_id & 3] = context  # freed by __dealloc__ from here on
            if not hmac_init_ex(context, <const unsigned char *>secret, len(secret), evp_sha256(), NULL):
                raise MemoryError("HMAC_Init_ex")

    def __dealloc__(self):
        cdef int i
        for i in range(4):
            if self.native.contexts[i] != NULL:
                hmac_ctx_free(self.native.contexts[i])

    def verify(self, bytes text not None):
        """The origin when `text` is a ufrag that verifies, else minus a place in REASONS. For tests."""
        cdef uint64_t origin = 0
        cdef int verdict
        if len(text) != 30:
            raise ValueError("a ufrag has 30 characters")
        verdict = verify_ufrag(&self.native, text, &origin)
        return origin if verdict == 0 else verdict


cdef int verify_ufrag(keyring *keys, const uint8_t *text, uint64_t *origin) noexcept nogil:
    cdef uint64_t first = decode_word(text, 0)
    cdef uint64_t second = decode_word(text, 10)
    cdef uint64_t third = decode_word(text, 20)
    cdef uint64_t expected
    if ~first == 0 or ~second == 0 or ~third == 0:
        return UFRAG_CHARACTER
    if word_version(first) != 0:
        return UFRAG_VERSION
    if keys.contexts[word_key_id(first)] == NULL:
        return UFRAG_KEY
    if not compute_tag(keys.contexts[word_key_id(first)], first, second, &expected):
        return UFRAG_TAG
    # One comparison of 64 bits takes the same time wherever they differ.
    if expected != words_tag(second, third):
        return UFRAG_TAG
    origin[0] = words_origin(first, second)
    return 0


cdef bint compute_tag(void *context, uint64_t first, uint64_t second, uint64_t *tag) noexcept nogil:
    """The first 64 bits of HMAC-SHA-256; False when OpenSSL fails."""
    cdef unsigned char message[LABEL_SIZE + BODY_SIZE]
    cdef unsigned char digest[64]
    cdef unsigned int size = 0
    cdef uint64_t number = 0
    cdef int i
    memcpy(message, LABEL, LABEL_SIZE)
    for i in range(BODY_SIZE):
        message[LABEL_SIZE + i] = body_byte(first, second, i)
    # No key and no digest: the context goes back to its keyed start.
    if not hmac_init_ex(context, NULL, 0, NULL, NULL):
        return False
    if not hmac_update(context, message, sizeof(message)) or not hmac_final(context, digest, &size):
        return False
    for i in range(8):
        number = (number << 8) | digest[i]
    tag[0] = number
    return True
