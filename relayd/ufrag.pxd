# The ufrag codec for the worker: a ufrag as three words of 60 bits. Described in ufrag.py.
cimport cython

# 256 bytes: a character's six bits, 0xff outside the alphabet; and the same as C sees them.
cdef bytes VALUE_BYTES
cdef const unsigned char *VALUES

# C's own, because a literal this wide would be a Python object.
cdef unsigned long long INVALID_WORD
cdef unsigned long long ORIGIN_MASK

# Ten characters at `offset` as 60 bits; all ones when a character is wrong. The caller has checked the length.
@cython.locals(i=Py_ssize_t, word="unsigned long long", wrong="unsigned char", value="unsigned char")
cpdef unsigned long long decode_word(const unsigned char *text, Py_ssize_t offset) noexcept nogil

cpdef int word_version(unsigned long long first) noexcept nogil
cpdef int word_key_id(unsigned long long first) noexcept nogil
cpdef unsigned long long words_origin(unsigned long long first, unsigned long long second) noexcept nogil
cpdef unsigned long long words_tag(unsigned long long second, unsigned long long third) noexcept nogil

# Byte `index` (0-14) of what the tag is computed over, after the label.
cpdef unsigned char body_byte(unsigned long long first, unsigned long long second, int index) noexcept nogil
